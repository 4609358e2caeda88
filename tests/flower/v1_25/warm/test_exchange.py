"""Named contents in anonymous memory."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.flower.v1_25.warm.exchange import IncompleteParcelError, Parcel, ParcelWriter, new_parcel


@pytest.fixture
def descriptor():
    number = new_parcel("test")
    yield number
    os.close(number)


@given(st.dictionaries(st.text(max_size=20), st.binary(max_size=300), max_size=8))
def test_what_is_written_is_read(contents):
    descriptor = new_parcel("test")
    writer = ParcelWriter(descriptor)
    for name, content in contents.items():
        writer.add(name, content)
    writer.close()
    with Parcel(descriptor) as parcel:
        assert {name: parcel[name] for name in parcel} == contents
    os.close(descriptor)


def test_a_parcel_whose_writer_died_does_not_open(descriptor):
    ParcelWriter(descriptor).add("name", b"x" * 1000)
    with pytest.raises(IncompleteParcelError):
        Parcel(descriptor)


def test_an_empty_parcel_does_not_open(descriptor):
    with pytest.raises(IncompleteParcelError, match="0 bytes"):
        Parcel(descriptor)


def test_a_parcel_is_written_anew_after_it_was_emptied(descriptor):
    for content in (b"x" * 1000, b"y"):
        os.ftruncate(descriptor, 0)
        writer = ParcelWriter(descriptor)
        writer.add("name", content)
        writer.close()
        with Parcel(descriptor) as parcel:
            assert parcel["name"] == content


def test_threads_may_add_at_once(descriptor):
    writer = ParcelWriter(descriptor)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: writer.add(str(number), bytes([number]) * 999), range(100)))
    writer.close()
    with Parcel(descriptor) as parcel:
        assert all(parcel[str(number)] == bytes([number]) * 999 for number in range(100))
