"""Readings go through JSON unharmed, and of what a client sends the valid part is kept."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.gpu.readings import (
    LONGEST_NAME,
    MOST_GPUS,
    MOST_XIDS,
    Reading,
    checked_reading,
    readings_of,
    record_of,
    short_name,
    text_of,
)

WHOLE = st.none() | st.integers(0, 2**50)
NAMES = st.text(st.characters(categories=("L", "N"), include_characters=" -"), max_size=LONGEST_NAME)
READINGS = st.builds(
    Reading,
    index=st.integers(0, 64),
    instance=st.none() | st.integers(0, 7),
    uuid=NAMES,
    name=NAMES,
    utilisation=st.none() | st.floats(0, 1),
    memory_used_bytes=WHOLE,
    memory_total_bytes=WHOLE,
    temperature_c=st.none() | st.floats(0, 120),
    power_w=st.none() | st.floats(0, 2000),
    ecc_errors=WHOLE,
    xids=st.dictionaries(st.integers(1, 200), st.integers(1, 1000), max_size=MOST_XIDS),
)


@given(st.lists(READINGS, max_size=4, unique_by=lambda each: each.place))
def test_what_is_sent_is_read_back(readings):
    assert readings_of(text_of(readings)) == tuple(readings)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("utilisation", math.nan),
        ("utilisation", 1.5),
        ("utilisation", True),
        ("utilisation", "1"),
        ("memory_used_bytes", 2**64),
        ("memory_used_bytes", 1.5),
        ("memory_total_bytes", -1),
        ("temperature_c", -40.0),
        ("temperature_c", math.inf),
        ("power_w", 1e308),
        ("power_w", 10**400),
        ("ecc_errors", -(2**64)),
        ("ecc_errors", True),
        ("instance", "7"),
    ],
)
def test_a_number_out_of_its_range_is_left_out_and_the_rest_kept(field, value):
    good = {"index": 3, "name": "NVIDIA H200", "utilisation": 0.5, "ecc_errors": 2}
    found = checked_reading({**good, field: value})
    assert getattr(found, field) is None
    assert (found.index, found.name) == (3, "NVIDIA H200")
    assert found.ecc_errors == (None if field == "ecc_errors" else 2)


@pytest.mark.parametrize("index", [None, -1, 2**64, True, "0", 1.0, math.nan])
def test_a_reading_that_does_not_say_which_gpu_it_is_is_none(index):
    assert checked_reading({"index": index, "name": "a"}) is None


def test_a_name_is_cut_and_one_with_controls_is_none():
    assert short_name("x" * 100) == "x" * 64
    assert [short_name(each) for each in ("\x1b[2J", "a\n", "\u202ea", "\ud800", 7, None)] == [""] * 6
    assert short_name("NVIDIA H200") == "NVIDIA H200"


def test_of_xid_errors_a_few_kinds_are_kept():
    many = {str(number): 1 for number in range(1, 500)}
    assert len(checked_reading({"index": 0, "xids": many}).xids) == MOST_XIDS
    odd = {"31": 2, "-1": 1, "0": 1, "1e3": 1, "99999": 1, "79": -1, "٣": 1, "48": 10**9, "13": True}
    assert checked_reading({"index": 0, "xids": odd}).xids == {31: 2}


def test_a_gpu_is_read_once_and_no_more_than_sixteen():
    assert readings_of([{"index": 0, "name": "a"}, {"index": 0, "name": "b"}]) == (
        Reading(index=0, name="b"),
    )
    assert len(readings_of([{"index": number} for number in range(100)])) == MOST_GPUS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "7",
        "null",
        "[7]",
        "[[]]",
        '{"index": 0}',
        "[" * 10_000,
        "[" + "{}," * 5000 + "{}]",
        "9" * 301,
    ],
)
def test_a_text_that_is_no_list_of_readings_gives_none(text):
    assert readings_of(text) == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
ODD = st.dictionaries(st.sampled_from([*Reading.__dataclass_fields__]), JSON, max_size=6)


@given(st.lists(ODD | JSON, max_size=4) | JSON)
def test_whatever_is_sent_becomes_readings_that_can_be_written(value):
    found = readings_of(value)
    json.dumps([record_of(each) for each in found], allow_nan=False)
    assert all(each.utilisation is None or 0 <= each.utilisation <= 1 for each in found)
    assert readings_of(text_of(found)) == found
