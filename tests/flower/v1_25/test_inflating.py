"""A reply is read by its form and within its limits; an honest one comes out as Flower reads it."""

import json

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.inflatable import get_all_nested_objects, get_object_tree
from flwr.common.inflatable_utils import inflate_object_from_contents
from hypothesis import given, settings
from hypothesis import strategies as st

from oneflower.codes import LeftOutCode
from oneflower.flower.records import array_view
from oneflower.flower.refusals import (
    FREE_OBJECTS,
    MOST_METRICS,
    Limits,
    ReplyRefusedError,
    limits_for,
    words_of,
)
from oneflower.flower.spool import Spool
from oneflower.flower.v1_25.inflating import chunk_ids, inflate, object_ids

from ...attacks.attacker import Made, array, chunk, metrics, record

SHORT = settings(max_examples=60)
GOOD = metrics(num_examples=10)


def honest(content=None, error=None):
    """Return the id and the objects of an ordinary reply."""
    asked = Message(RecordDict(), 5, "train")
    reply = Message(content if error is None else error, reply_to=asked)
    return reply, {key: each.deflate() for key, each in get_all_nested_objects(reply).items()}


def head(*children):
    return Made("Message", children)


def read(made, limits=None):
    return inflate(made.id, made.all(), limits or Limits())


def refused(made, limits=None):
    with pytest.raises(ReplyRefusedError) as caught:
        read(made, limits)
    return caught.value


names = st.text(min_size=1, max_size=20).filter(str.isprintable)
arrays = st.builds(
    lambda seed, shape, dtype: Array(np.random.default_rng(seed).integers(0, 9, shape).astype(dtype)),
    st.integers(0, 5),
    st.lists(st.integers(0, 4), max_size=3),
    st.sampled_from(["float32", "int64", "bool", "float16"]),
)
numbers = st.floats(allow_nan=False) | st.integers(-(2**63), 2**63 - 1)
contents = st.dictionaries(
    names,
    st.builds(ArrayRecord, st.dictionaries(names, arrays, max_size=5))
    | st.builds(
        MetricRecord, st.dictionaries(names, numbers | st.lists(st.floats(allow_nan=False)), max_size=5)
    )
    | st.builds(
        ConfigRecord, st.dictionaries(names, st.binary() | st.text(max_size=9) | numbers, max_size=5)
    ),
    max_size=5,
).map(RecordDict)


@given(contents)
@SHORT
def test_an_honest_reply_is_read_as_flower_reads_it(content):
    reply, objects = honest(content)
    ids = object_ids(get_object_tree(reply), Limits())
    assert set(ids) == set(objects)
    found = inflate(reply.object_id, {each: objects[each] for each in ids}, Limits())
    assert found == inflate_object_from_contents(reply.object_id, dict(objects)).content
    assert list(found) == list(content)
    for name, records in content.array_records.items():
        assert list(found[name]) == list(records)


def test_the_limits_of_a_message_let_its_own_content_come_back():
    """An app may send twice as much as it got; a float64 in place of a float32 is told by its dtype."""
    big = ArrayRecord({f"w{i}": Array(np.zeros(2_000_000, np.float32)) for i in range(10)})
    limits = limits_for(RecordDict({"arrays": big}))
    twice = ArrayRecord({name: Array(each.numpy().astype(np.float64)) for name, each in big.items()})
    reply, objects = honest(RecordDict({"arrays": twice, "metrics": MetricRecord({"num-examples": 1})}))
    assert len(object_ids(get_object_tree(reply), limits)) == len(objects)
    assert set(inflate(reply.object_id, objects, limits)) == {"arrays", "metrics"}


def test_an_error_of_the_client_comes_as_it_was_sent():
    reply, objects = honest(error=Error(7, "no"))
    found = inflate(reply.object_id, objects, Limits())
    assert (found.code, found.reason) == (7, "no")


def test_memory_is_given_up_while_a_reply_is_read():
    """A large model is not in memory twice at the end: each chunk is let go with its last array."""
    shared = chunk(b"x" * 100)
    made = head(
        record(
            first=record("ArrayRecord", a=array(shared), b=array(shared, shape=(100,))),
            second=record("ArrayRecord", c=array(shared, dtype="int8")),
        )
    )
    objects = made.all()
    found = inflate(made.id, objects, Limits())
    assert [len(each.data) for records in found.values() for each in records.values()] == [100] * 3
    assert shared.id not in objects


def test_a_chunk_that_is_listed_often_counts_as_often():
    made = head(record(arrays=record("ArrayRecord", w=array(chunk(bytes(1_000)), order=[0] * 1_001))))
    assert refused(made, Limits(num_bytes=1_000_000)).why is LeftOutCode.TOO_LARGE
    assert read(made, Limits(num_bytes=1_001_000))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (GOOD, "expected Message"),
        (head(), "0 contents"),
        (head(GOOD, record(metrics=GOOD)), "2 contents"),
        (head(GOOD), "expected RecordDict"),
        (head(record(metrics=record())), "expected ArrayRecord"),
        (head(record(arrays=record("ArrayRecord", w=chunk(b"")))), "expected Array"),
        (head(Made("RecordDict", (GOOD,), b"[1]")), "is a list"),
        (head(Made("RecordDict", (GOOD,), b'{"a": 1}')), "not among its children"),
        (head(Made("RecordDict", (GOOD,), b"{}", body_length=7)), "says '7' bytes"),
        (head(Made("RecordDict", (), b"{}", listed=("0" * 64,), head=b"RecordDict")), "expected RecordDict"),
        (head(Made("RecordDict", (GOOD,), json.dumps({"a" * 600: GOOD.id}).encode())), "longer than"),
        (head(record(m=metrics(**{"a\n": 1}))), "printable"),
    ],
    ids=str,
)
def test_what_has_not_the_form_of_a_reply_is_refused(made, words):
    error = refused(made)
    assert words in str(error)
    assert error.why is LeftOutCode.UNREADABLE


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (head(record(m=metrics(**{f"m{i}": 1 for i in range(MOST_METRICS + 1)}))), "values in one record"),
        (head(record(m=metrics(many=[0.5] * 70_000))), "values in lists"),
        (head(record(m=Made("MetricRecord", (), bytes(2 << 20)))), "bytes in one record"),
        (head(Made("RecordDict", (GOOD,), b" " * (1 << 20))), "bytes in one list"),
        (head(record(**{f"n{i}": GOOD for i in range(65)})), "names"),
        (Made("Message", (), bytes(2 << 20)), "bytes in one message"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_larger_than_its_limit_is_refused(made, words):
    error = refused(made)
    assert words in str(error)
    assert error.why is LeftOutCode.TOO_LARGE


def test_a_tree_is_not_followed_beyond_its_limits():
    wide = head(record(**{f"n{i}": chunk(b"%d" % i) for i in range(FREE_OBJECTS)}))
    with pytest.raises(ReplyRefusedError, match="objects"):
        object_ids(wide.tree(), Limits())
    deep = chunk(b"")
    for _ in range(6):
        deep = Made("RecordDict", (deep,))
    with pytest.raises(ReplyRefusedError, match="deep"):
        object_ids(deep.tree(), Limits())


@given(
    st.binary(max_size=200),
    st.sampled_from(["Message", "RecordDict", "ArrayRecord", "Array", "MetricRecord"]),
)
@SHORT
def test_any_body_is_read_or_raises_an_ordinary_exception(body, kind):
    """What it raises is caught where the reply is pulled; a crash or a hang is not."""
    one = Made(kind, (GOOD,), body)
    made = {"Message": one, "RecordDict": head(one)}.get(kind)
    made = made or head(record(arrays=record("ArrayRecord", w=one) if kind == "Array" else one))
    try:
        read(made)
    except Exception as error:  # noqa: BLE001 - any is caught
        words_of(error)


@SHORT
@given(contents)
def test_a_reply_with_its_arrays_in_a_file_reads_as_in_memory(tmp_path_factory, content):
    reply, objects = honest(content)
    spool = Spool(folder=tmp_path_factory.getbasetemp())
    spool.begin(1 << 20)
    found = inflate(reply.object_id, objects, Limits(), spool.put)
    assert set(found.array_records) == set(content.array_records)
    for name, expected in content.array_records.items():
        for key, each in expected.items():
            np.testing.assert_array_equal(array_view(found[name][key]), array_view(each))
            assert isinstance(found[name][key].data, memoryview)


def test_a_chunk_that_is_listed_too_often_is_refused_with_a_file_too(tmp_path):
    piece = chunk(b"x" * 1000)
    form = {"dtype": "float32", "shape": [2], "stype": "numpy.ndarray", "arraychunk_ids": [0] * 400}
    made = Made("Array", [piece], json.dumps(form).encode())
    listed = head(Made("RecordDict", [record(made), GOOD], b'{"a": "%s", "m": "%s"}'))
    spool = Spool(folder=tmp_path)
    spool.begin(1 << 20)
    with pytest.raises(ReplyRefusedError):
        inflate(listed.id, listed.all(), Limits(num_bytes=100_000), spool.put)


def test_chunks_are_the_leaves_of_arrays(tmp_path):
    content = RecordDict(
        {"a": ArrayRecord([np.arange(9), np.arange(9), np.arange(5)]), "m": MetricRecord({"x": 1})}
    )
    reply, objects = honest(content)
    tree = get_object_tree(reply)
    chunks = chunk_ids(tree)
    assert {objects[each].split(b" ")[0] for each in chunks} == {b"ArrayChunk"}
    assert set(chunks) == {each for each, data in objects.items() if data.startswith(b"ArrayChunk")}
