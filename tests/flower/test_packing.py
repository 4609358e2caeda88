"""Many small arrays travel as one, to nodes that can take them apart, and come out as they went in."""

import json
from collections import Counter
from contextlib import suppress

import numpy as np
import pytest
from flwr.app.error import Error
from flwr.common import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from hypothesis import given
from hypothesis import strategies as st

from oneflower.codes import LeftOutCode
from oneflower.flower.grid import RoundGrid
from oneflower.flower.packing import (
    FEWEST,
    PACKED,
    SMALL_BYTES,
    PackingError,
    answer,
    greeting,
    is_greeting,
    pack,
    unpack,
)
from oneflower.flower.packing_grid import GREETING_S, MOST_GREETINGS, PackingGrid
from oneflower.flower.refusals import LONGEST_REASON, refusal_of

DTYPES = ("float32", "float16", "int64", "bool", "uint8")


def many(count=40, big=()):
    """Return arrays of many types and shapes, 0-d and empty ones too; those in `big` are large."""
    rng = np.random.default_rng(count)
    arrays = {}
    for i in range(count):
        shape = (SMALL_BYTES,) if i in big else [(), (0,), (3,), (2, 5)][i % 4]
        arrays[f"layer.{i}.ü"] = Array(np.asarray(rng.normal(size=shape) * 9).astype(DTYPES[i % len(DTYPES)]))
    return ArrayRecord(arrays)


def content_of(record, **more):
    return RecordDict({"before": ConfigRecord({"a": 1}), "arrays": record, **more})


def facts(record):
    return [(name, a.dtype, tuple(a.shape), a.stype, a.data) for name, a in record.items()]


@pytest.mark.parametrize("big", [(), (0, 7, 39)])
def test_what_is_packed_comes_out_as_it_went_in(big):
    record = many(big=big)
    content = content_of(record, other=many(3), metrics=MetricRecord({"m": 1.0}))
    packed = pack(content)
    assert list(packed) == list(content)
    assert len(packed["arrays"]) == 1 + len(big)
    assert packed["other"] is content["other"]
    assert len(content["arrays"]) == 40  # the original stays
    assert unpack(packed)
    assert list(packed) == list(content)
    assert facts(packed["arrays"]) == facts(record)
    assert not unpack(packed)


def test_few_arrays_and_large_ones_are_sent_as_they_are():
    assert pack(content_of(many(FEWEST - 1))) is None
    assert pack(content_of(many(FEWEST, big=range(4)))) is None
    assert pack(RecordDict({"metrics": MetricRecord({"m": 1.0})})) is None


def test_an_app_that_has_an_array_of_that_name_keeps_it():
    record = ArrayRecord({**many(), PACKED: Array(np.arange(3))})
    content = content_of(record)
    assert pack(content) is None
    assert not unpack(content)
    assert facts(content["arrays"]) == facts(record)


def with_list(index, bodies=b"", **beside):
    head = json.dumps(index).encode() if not isinstance(index, bytes) else index
    packed = pack(content_of(many()))["arrays"][PACKED]
    data = len(head).to_bytes(8, "big") + head + bodies
    array = Array(dtype="uint8", shape=(len(data),), stype=packed.stype, data=data)
    return content_of(ArrayRecord({**beside, PACKED: array}))


@pytest.mark.parametrize(
    "content",
    [
        with_list([["a", "float32", [1], "numpy.ndarray", 5]], b"1234"),
        with_list([["a", "float32", [1], "numpy.ndarray", 3]], b"1234"),
        with_list([["a", "float32", [1], "numpy.ndarray", -1]], b"1234"),
        with_list([["a", "float32", [1], "numpy.ndarray", True]], b"1"),
        with_list([["a", "float32", [1], "numpy.ndarray", 2]] * 2, b"1234"),
        with_list([["a"]]),
        with_list([]),
        with_list([], beside=Array(np.arange(2))),
        with_list([["a", 3, 4, 5, 0]]),
        with_list([[]]),
        with_list({"a": 1}),
        with_list([3]),
        with_list(b"[" * 100_000),
        with_list(b"\xff"),
    ],
)
def test_what_is_not_packed_as_we_do_it_is_refused_and_left_alone(content):
    before = facts(content["arrays"])
    try:
        unpack(content)
    except PackingError as error:
        assert "packed" in str(error)  # noqa: PT017 - an empty list is good
        assert facts(content["arrays"]) == before
    else:
        assert facts(content["arrays"]) == []


@given(at=st.integers(0, 2000), value=st.integers(0, 255), cut=st.integers(0, 3000))
def test_damage_raises_one_kind_of_error_or_none(at, value, cut):
    content = pack(content_of(many()))
    array = content["arrays"][PACKED]
    data = bytearray(array.data)
    data[at % len(data)] = value
    array.data = bytes(data[: max(1, len(data) - cut)]) if cut % 2 else bytes(data)
    with suppress(PackingError):
        unpack(content)


def test_an_app_sees_plain_arrays_and_its_reply_is_packed_where_the_question_was():
    seen = []

    def app(message, _context):
        seen.append(facts(message.content["arrays"]))
        return Message(RecordDict({"arrays": message.content["arrays"]}), reply_to=message)

    record = many()
    for content, packs in ((pack(content_of(record)), True), (content_of(record), False)):
        question = Message(content, 7, MessageType.TRAIN)
        vars(question.metadata).update(_message_id="m", _src_node_id=1, _run_id=1)
        reply = answer(app, question, None)
        assert (PACKED in reply.content["arrays"]) == packs
        unpack(reply.content)
        assert facts(reply.content["arrays"]) == facts(record)
    assert seen == [facts(record)] * 2


class Cluster:
    """Nodes in simulated time: ours, a stock one whose app knows no greeting, one that has died."""

    def __init__(self, **nodes):
        self.kinds = {int(name[1:]): kind for name, kind in nodes.items()}
        self.now, self.ready, self.delivered = 0.0, {}, []
        self.sent = Counter()

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def get_node_ids(self):
        return list(self.kinds)

    def push_messages(self, messages):
        for message in messages:
            node, message_id = message.metadata.dst_node_id, f"m{len(self.delivered)}"
            vars(message.metadata).update(_message_id=message_id, _src_node_id=1, _run_id=1)
            self.delivered.append((node, message))
            kind = "plain" if is_greeting(message) or PACKED not in message.content["arrays"] else "packed"
            self.sent[node, "greeted" if is_greeting(message) else kind] += 1
            if self.kinds[node] != "dead":
                self.ready[message_id] = self._answer(message, self.kinds[node])
            yield message_id

    def _answer(self, message, kind):
        def app(message, _context):
            if message.metadata.message_type == MessageType.QUERY or PACKED in message.content["arrays"]:
                raise KeyError("the app does not know this")
            return Message(RecordDict({"arrays": message.content["arrays"]}), reply_to=message)

        try:
            return answer(app, message, None) if kind == "ours" else app(message, None)
        except KeyError as error:
            code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
            return Message(Error(code=code, reason=str(error)), reply_to=message)

    def pull_messages(self, ids):
        return [self.ready.pop(i) for i in list(ids) if i in self.ready]


def round_of(cluster, grid, record=None):
    record = many() if record is None else record
    sent = [Message(content_of(record), node, MessageType.TRAIN) for node in cluster.kinds]
    replies = {r.node_id: r.message for r in grid.exchange(sent, timeout_s=5.0) if r.message.has_content()}
    assert all(facts(reply.content["arrays"]) == facts(record) for reply in replies.values())
    return sorted(replies)


def grid_of(cluster):
    packing = PackingGrid(cluster, clock=cluster.clock)
    return RoundGrid(packing, clock=cluster.clock, sleep=cluster.sleep)


def test_each_node_is_asked_once_and_stock_ones_get_plain_arrays():
    cluster = Cluster(n1="ours", n2="stock", n3="ours")
    grid = grid_of(cluster)
    for _ in range(3):
        assert round_of(cluster, grid) == [1, 2, 3]
    one = {(n, "greeted"): 1 for n in (1, 2, 3)}
    assert cluster.sent == {**one, (1, "packed"): 3, (2, "plain"): 3, (3, "packed"): 3}


def test_nobody_is_asked_for_a_few_arrays():
    cluster = Cluster(n1="ours")
    assert round_of(cluster, grid_of(cluster), many(4)) == [1]
    assert cluster.sent == {(1, "plain"): 1}


def test_a_node_that_does_not_answer_holds_up_nobody_for_long_and_is_asked_when_it_is_back():
    cluster = Cluster(n1="ours", n2="dead")
    grid = grid_of(cluster)
    assert round_of(cluster, grid) == [1]
    assert cluster.now < GREETING_S + 10
    before = cluster.now
    assert round_of(cluster, grid) == [1]
    assert cluster.now < before + 10, "a node that is silent on purpose holds up each round"
    cluster.kinds[2] = "ours"
    cluster.ready.clear()
    (late,) = [m.metadata.message_id for n, m in cluster.delivered if n == 2 and is_greeting(m)]
    cluster.ready[late] = answer(None, cluster.delivered[int(late[1:])][1], None)
    assert round_of(cluster, grid) == [1, 2]
    assert cluster.sent[2, "packed"] == 1


def test_a_node_whose_program_became_another_one_is_asked_again():
    cluster = Cluster(n1="ours")
    grid = grid_of(cluster)
    assert round_of(cluster, grid) == [1]
    cluster.kinds[1] = "stock"
    assert round_of(cluster, grid) == []
    assert round_of(cluster, grid) == [1]
    assert cluster.sent == {(1, "greeted"): 2, (1, "packed"): 2, (1, "plain"): 1}


class Slow(Cluster):
    """Node 2 answers a greeting after `greeting_s`, and everything else with an error of its app."""

    greeting_s = 28.0

    def __init__(self, **nodes):
        super().__init__(**nodes)
        self.due, self.when = {}, []

    def push_messages(self, messages):
        for message in messages:
            node, greets = message.metadata.dst_node_id, is_greeting(message)
            self.when.append((node, "greeted" if greets else "sent", self.now))
            (message_id,) = super().push_messages([message])
            if node == 2:
                self.due[message_id] = self.now + (self.greeting_s if greets else 0.5)
                if not greets:
                    raised = Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason="x")
                    self.ready[message_id] = Message(raised, reply_to=message)
            yield message_id

    def pull_messages(self, ids):
        return super().pull_messages([each for each in ids if self.due.get(each, 0.0) <= self.now])


def test_a_node_that_greets_slowly_and_then_fails_holds_up_nobody_and_is_greeted_twice_at_most():
    """It was greeted again after each error, and all waited for its answer: rounds of 57 s."""
    cluster = Slow(n1="ours", n2="ours", n3="ours")
    grid, took = grid_of(cluster), []
    for _ in range(6):
        begin = cluster.now
        sent = [Message(content_of(many()), node, MessageType.TRAIN) for node in cluster.kinds]
        list(grid.exchange(sent, timeout_s=3600.0))
        took.append(cluster.now - begin)
        first = {node: when - begin for node, what, when in reversed(cluster.when) if what == "sent"}
        assert max(first[1], first[3]) < 2, "the work of the others waited for what node 2 says"
        cluster.when.clear()
    assert cluster.sent[2, "greeted"] == MOST_GREETINGS
    assert max(took[MOST_GREETINGS:]) < 3
    assert cluster.sent[1, "packed"] == cluster.sent[3, "packed"] == 6


def test_an_answer_to_a_greeting_that_comes_late_is_used_from_the_next_phase_on():
    cluster = Slow(n1="ours", n2="ours")
    cluster.greeting_s = GREETING_S + 10
    grid = grid_of(cluster)
    for _ in range(2):
        sent = [Message(content_of(many()), node, MessageType.TRAIN) for node in cluster.kinds]
        list(grid.exchange(sent, timeout_s=3600.0))
        cluster.sleep(15)
    assert cluster.sent[2, "plain"] == 1
    assert cluster.sent[2, "packed"] == 1


def test_errors_now_and_then_do_not_make_a_node_that_unpacks_a_plain_one():
    """A reply that comes packed shows that it can: then it may be greeted once more."""
    cluster = Cluster(n1="ours")
    grid = grid_of(cluster)
    for _ in range(4):
        assert round_of(cluster, grid) == [1]
        cluster.kinds[1] = "stock"
        assert round_of(cluster, grid) == []
        cluster.kinds[1] = "ours"
    assert cluster.sent == {(1, "greeted"): 4, (1, "packed"): 8}


@pytest.mark.parametrize("index", [[["a"]], [["a" * 70_000]], [[["a"]]], 7])
def test_a_reply_that_cannot_be_taken_apart_is_refused(index):
    cluster = Cluster(n1="ours")
    grid = PackingGrid(cluster, clock=cluster.clock)
    question = greeting(1)
    (message_id,) = grid.push_messages([question])
    cluster.ready[message_id] = Message(with_list(index), reply_to=question)
    (reply,) = grid.pull_messages([message_id])
    assert refusal_of(reply).why is LeftOutCode.UNREADABLE
    assert len(reply.error.reason) <= LONGEST_REASON
