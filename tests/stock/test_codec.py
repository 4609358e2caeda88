"""What is recorded of a reply comes back as it was, and damage is seen."""

import json

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from oneflower.errors import CheckpointError, ForeignError
from oneflower.stock.codec import Kept, decode, encode, head_of, message_digest

FLOATS = st.floats(allow_nan=False, width=64)
METRIC = st.one_of(st.integers(-(2**63), 2**63 - 1), FLOATS, st.lists(FLOATS, max_size=3))
CONFIG = st.one_of(
    METRIC,
    st.booleans(),
    st.text(max_size=9),
    st.binary(max_size=9),
    st.lists(st.binary(max_size=4), max_size=3),
)
NAMES = st.text(max_size=8)


def kept(content):
    return Kept(node=1000, number=7, digest="d", training="t", content=content)


@given(
    st.dictionaries(NAMES, METRIC, max_size=4),
    st.dictionaries(NAMES, CONFIG, max_size=4),
    st.dictionaries(NAMES, st.binary(max_size=30), max_size=4),
)
def test_records_come_back_as_they_were(metrics, config, arrays):
    raw = {
        name: Array(dtype="odd", shape=(3, 4), stype="own.bytes", data=data) for name, data in arrays.items()
    }
    content = RecordDict({"z": MetricRecord(metrics), "a": ConfigRecord(config), "m": ArrayRecord(raw)})
    found = decode(encode(kept(content))).content
    assert list(found) == ["z", "a", "m"]
    assert [(type(v), v) for v in found["z"].values()] == [(type(v), v) for v in metrics.values()]
    assert list(found["z"]) == list(metrics)
    assert dict(found["a"]) == config
    assert [(n, a.dtype, a.shape, a.stype, a.data) for n, a in found["m"].items()] == [
        (n, "odd", (3, 4), "own.bytes", d) for n, d in arrays.items()
    ]


def test_numbers_that_json_does_not_have_come_back():
    content = RecordDict({"m": MetricRecord({"a": float("nan"), "b": float("inf")})})
    found = decode(encode(kept(content))).content["m"]
    assert np.isnan(found["a"])
    assert found["b"] == float("inf")


def test_an_error_and_no_reply_come_back():
    found = decode(encode(kept(Error(2, "it raised")))).content
    assert (found.code, found.reason) == (2, "it raised")
    assert decode(encode(kept(None))).content is None


def test_every_changed_byte_is_seen():
    data = encode(kept(RecordDict({"m": MetricRecord({"a": 1})})))
    for at in range(len(data)):
        with pytest.raises(CheckpointError):
            decode(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    for length in range(len(data)):
        with pytest.raises(CheckpointError):
            decode(data[:length])


def test_with_a_key_only_what_it_signed_is_read():
    content = RecordDict({"m": MetricRecord({"a": 1})})
    signed = encode(kept(content), "key")
    assert decode(signed, "key").number == 7
    for data, key in ((signed, "other"), (signed, "")):
        with pytest.raises(CheckpointError):
            decode(data, key)
    with pytest.raises(ForeignError):
        decode(encode(kept(content)), "key")


def test_nothing_is_pickled_and_the_head_can_be_read_alone():
    data = encode(kept(RecordDict({"m": ArrayRecord({"w": Array(np.arange(3))})})))
    assert head_of(data[: data.index(b"\x93NUMPY")])["node"] == 1000
    assert json.dumps(head_of(data)["reply"][0][:2]) == '["m", "arrays"]'


def test_the_digest_is_of_all_that_a_client_gets():
    def message(value=1.0, group="1", kind="train", name="w"):
        content = RecordDict(
            {"a": ArrayRecord({name: Array(np.array([value]))}), "c": ConfigRecord({"lr": value})}
        )
        return Message(content, 5, kind, group_id=group)

    same = message_digest(message(), 5)
    assert same == message_digest(message(), 5)
    others = [message(2.0), message(group="2"), message(kind="query"), message(name="v")]
    assert len({same, message_digest(message(), 6), *(message_digest(each, 5) for each in others)}) == 6
