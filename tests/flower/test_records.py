"""Flower's arrays as NumPy views and back."""

from io import BytesIO

import numpy as np
import pytest
from flwr.common import Array
from hypothesis import given, settings
from hypothesis import strategies as st

from oneflower.aggregation import AggregationError
from oneflower.flower.records import (
    NewModel,
    array_view,
    to_array,
    to_record,
)

ARRAYS = {
    "float32": np.arange(12, dtype=np.float32).reshape(3, 4),
    "float16": np.ones(3, np.float16),
    "0-d": np.array(5),
    "bool": np.array([True, False]),
    "empty": np.empty((0, 3), np.float32),
    "Fortran order": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "big endian": np.arange(3, dtype=">f8"),
    "strided": np.arange(12.0)[::3],
}


def _mutated(position, text):
    good = Array(np.arange(12, dtype=np.float32).reshape(3, 4)).data
    return good[:position] + text + good[position + len(text) :]


each = pytest.mark.parametrize("values", ARRAYS.values(), ids=ARRAYS)


def array_of(data, stype="numpy.ndarray"):
    return Array(dtype="float32", shape=(3,), stype=stype, data=data)


def with_header(header, version=b"\x01\x00", values=b""):
    text = header.encode()
    width = 2 if version == b"\x01\x00" else 4
    return b"\x93NUMPY" + version + len(text).to_bytes(width, "little") + text + values


@each
def test_a_view_is_what_flower_reads(values):
    view = array_view(Array(values))
    expected = Array(values).numpy()
    assert (view.dtype, view.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(view, expected)


@each
def test_what_is_written_is_what_flower_writes(values):
    written = to_array(values)
    in_c_order = Array(np.ascontiguousarray(values).reshape(values.shape))
    assert (written.dtype, written.shape, written.stype) == (str(values.dtype), values.shape, "numpy.ndarray")
    assert written.data == in_c_order.data


def test_a_view_shares_the_bytes_of_the_message():
    array = Array(ARRAYS["float32"])
    view = array_view(array)
    assert np.shares_memory(view, np.frombuffer(array.data, np.uint8))
    assert not view.flags.writeable


def test_newer_headers_are_read():
    buffer = BytesIO()
    np.lib.format.write_array(buffer, ARRAYS["float32"], version=(2, 0))
    np.testing.assert_array_equal(array_view(array_of(buffer.getvalue())), ARRAYS["float32"])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x00" + b"\x00" * 80,
        b"\x93NUMPY\x02\x00" + b"\xff" * 4,
        np.lib.format.magic(1, 0) + b"\xff\xff{}",
        with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}\n"),
        with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}\n", values=b"\x00" * 16),
        with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -3)}\n", values=b"\x00" * 12),
        with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2**70,)}\n"),
        with_header(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551617,)}\n", values=b"0000"
        ),
        with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 9223372036854775807, 9)}\n"),
        with_header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n", values=b"\x80\x04N."),
        with_header("{'descr': '|V0', 'fortran_order': False, 'shape': (1,)}\n"),
        with_header("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,)}\n"),
        with_header("__import__('os').abort()\n"),
        with_header("[" * 5000 + "\n"),
        with_header("{'descr': '<f4'}\n"),
        with_header("\x00\n"),
    ],
)
def test_bytes_that_are_no_array_are_refused_without_running_or_allocating_anything(data):
    with pytest.raises(AggregationError, match="not readable as a NumPy array"):
        array_view(array_of(data))


@settings(max_examples=3 * settings.default.max_examples)
@given(data=st.binary(max_size=200) | st.builds(_mutated, st.integers(0, 175), st.binary(max_size=12)))
def test_whatever_bytes_a_client_sends_they_are_an_array_or_refused(data):
    try:
        view = array_view(array_of(data))
    except AggregationError:
        return
    assert view.nbytes <= len(data)


def test_another_serialisation_is_refused():
    with pytest.raises(AggregationError, match=r"'torch'.*'numpy.ndarray'"):
        array_view(array_of(Array(ARRAYS["float32"]).data, stype="torch"))


def test_a_new_model_becomes_a_record_without_a_copy():
    new = NewModel()
    like = np.arange(1 << 15, dtype=np.float32)  # small ones are copied
    values = new.allocate("w", like)
    values[...] = like + 1
    address = values.__array_interface__["data"][0]
    arrays = {"w": values}
    del values
    result = new.to_record(arrays, ("w",))
    assert result["w"].data == Array(like + 1).data
    assert array_view(result["w"]).__array_interface__["data"][0] == address
    assert not arrays


def test_a_view_that_someone_still_holds_costs_a_copy_and_changes_nothing():
    new = NewModel()
    values = new.allocate("w", np.zeros(1 << 15, np.float32))
    values[...] = 1
    result = new.to_record({"w": values}, ("w",))
    values[...] = 2
    assert (array_view(result["w"]) == 1).all()


def test_arrays_from_elsewhere_and_without_values_are_written_too():
    new = NewModel()
    empty = new.allocate("empty", ARRAYS["empty"])
    result = new.to_record({"other": ARRAYS["strided"], "empty": empty}, ("empty", "other"))
    assert list(result) == ["empty", "other"]
    assert result["empty"].numpy().shape == (0, 3)
    np.testing.assert_array_equal(result["other"].numpy(), ARRAYS["strided"])


def test_a_large_array_from_elsewhere_is_copied_once_and_stays_as_it_was():
    given = np.arange(3 << 20, dtype=np.float32).reshape(3, -1)
    result = NewModel().to_record({"w": given}, ("w",))
    assert result["w"].data == Array(given).data
    given[...] = 0
    np.testing.assert_array_equal(result["w"].numpy()[0, :3], [0, 1, 2])


def test_a_model_is_serialised_in_the_order_asked_for():
    assert list(to_record(dict(ARRAYS), tuple(reversed(ARRAYS)))) == list(reversed(ARRAYS))


@pytest.mark.parametrize("length", [64, 117, 119, 128, 3_000, 4_086])
def test_a_header_that_is_not_as_long_as_it_says_is_refused(length):
    data = bytearray(Array(np.arange(100, dtype=np.float32)).data)
    array_view(array_of(bytes(data)))  # the right one is known from here on
    data[8:10] = length.to_bytes(2, "little")
    with pytest.raises(AggregationError):
        array_view(array_of(bytes(data)))
