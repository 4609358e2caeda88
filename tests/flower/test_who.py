"""Nodes say who they are, so that their order is the same after a restart; a lie changes an order only."""

import random

import pytest
from flwr.app.error import Error
from flwr.common import ConfigRecord, Context, Message, RecordDict
from flwr.common.constant import ErrorCode

from oneflower.flower.calls.call import call_client
from oneflower.flower.grid import RoundGrid
from oneflower.flower.packing_grid import PackingGrid
from oneflower.flower.parts import MEMBER, PartTable
from oneflower.flower.who import (
    ASK_AGAIN_S,
    FORMAT,
    MOST_QUESTIONS,
    RECORD,
    UNKNOWN,
    Identity,
    Roll,
    order,
    question,
)
from oneflower.lab.localgrid import LocalGrid
from oneflower.parts import table_text

from ..federation import numpy_app


def never_called(message, context):
    raise AssertionError("the app was called")


class Cluster:
    """Nodes that answer when a test says so; time passes while one sleeps."""

    def __init__(self, answers):
        self.answers, self.now, self.pushed = answers, 0.0, []

    def clock(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.now += seconds

    def push_messages(self, messages):
        for message in messages:
            self.pushed.append(message.metadata.dst_node_id)
            message.metadata.__dict__.update(_src_node_id=1, _run_id=1, _message_id=f"m{len(self.pushed)}")
            yield self._keep(message)

    def _keep(self, message):
        self.waiting = {**getattr(self, "waiting", {}), message.metadata.message_id: message}
        return message.metadata.message_id

    def pull_messages(self, ids):
        for message_id in list(ids):
            message = self.waiting[message_id]
            after, said = self.answers[message.metadata.dst_node_id]
            if self.now >= after and said is not None:
                content = said if isinstance(said, Error) else RecordDict(said)
                yield Message(content, reply_to=message)

    def roll(self):
        return Roll(self, clock=self.clock, sleep=self.sleep)


def says(**values):
    return {RECORD: ConfigRecord({"format": FORMAT, **values})}


NO_QUERY = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "no query")
GONE = Error(ErrorCode.NODE_UNAVAILABLE, "gone")


@pytest.mark.parametrize("wrap", [lambda grid: grid, lambda grid: RoundGrid(PackingGrid(grid))])
def test_a_restart_with_other_node_ids_gives_the_same_order_of_partitions(wrap):
    for seed in range(3):
        ids = random.Random(seed).sample(range(10**6), 5)
        grid = wrap(LocalGrid(never_called, clients=5, run_config={}, node_ids=ids))
        assert Roll(grid).order(sorted(ids)) == ids


def test_the_executor_answers_and_the_app_is_not_called():
    message = question(7)
    message.metadata.__dict__["_src_node_id"] = 1
    context = Context(1, 7, {"client-name": "a", "partition-id": 4}, RecordDict(), {})
    assert dict(call_client(never_called, message, context).content[RECORD]) == {
        "format": FORMAT,
        "name": "a",
        "named": True,
        "partition": 4,
    }


def test_a_member_answers_with_the_partition_that_it_is_assigned(tmp_path):
    file = tmp_path / "parts"
    file.write_text(table_text([12, 11]))
    parts = PartTable(path=file)
    parts.look()
    message = question(7, parts)
    message.metadata.__dict__["_src_node_id"] = 1
    context = Context(1, 7, {"partition-id": 9, "num-partitions": 10, MEMBER: 11}, RecordDict(), {})
    assert call_client(never_called, message, context).content[RECORD]["partition"] == list(
        parts.members
    ).index(11)


def test_only_unknown_nodes_are_asked():
    cluster = Cluster({1: (0, says(partition=1)), 2: (0, says(partition=0)), 3: (0, NO_QUERY)})
    roll = cluster.roll()
    assert roll.order([1, 2]) == [2, 1]
    assert roll.order([1, 2, 3]) == [2, 1, 3]
    assert roll.order([3, 2, 1]) == [2, 1, 3]
    assert cluster.pushed == [1, 2, 3]
    assert cluster.now == 0


def test_a_silent_node_is_waited_for_once_and_comes_last():
    cluster = Cluster({1: (0, None), 2: (0, says(partition=0))})
    roll = cluster.roll()
    assert roll.order([1, 2], timeout_s=10) == [2, 1]
    assert cluster.now == pytest.approx(10)
    assert roll.order([1, 2], timeout_s=10) == [2, 1]
    assert cluster.now == pytest.approx(10)


def test_a_late_answer_counts_from_then_on():
    cluster = Cluster({1: (50, says(partition=0)), 2: (0, says(partition=1))})
    roll = cluster.roll()
    assert roll.order([1, 2], timeout_s=10) == [2, 1]
    cluster.now = 55
    assert roll.order([1, 2], timeout_s=10) == [1, 2]
    assert cluster.pushed == [1, 2]


def test_a_lost_question_is_asked_again_and_not_for_ever():
    cluster = Cluster({1: (0, None)})
    roll = cluster.roll()
    for _ in range(5):
        roll.identities([1], timeout_s=1)
        cluster.now += ASK_AGAIN_S
    assert cluster.pushed == [1] * MOST_QUESTIONS
    cluster = Cluster({1: (0, GONE)})
    roll = cluster.roll()
    for _ in range(5):
        assert roll.identities([1], timeout_s=1) == {1: UNKNOWN}
    assert cluster.pushed == [1] * MOST_QUESTIONS


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"other": ConfigRecord({"partition": 0})},
        {RECORD: ConfigRecord({"partition": 0})},
        says(partition=-1, name="\x1b[31m"),
        says(partition=2**40, name="a" * 10_000),
        says(partition=1.0, name=5),
        says(partition=[1], name=b"a"),
        says(partition=True),
        NO_QUERY,
    ],
)
def test_what_is_no_answer_makes_an_unknown_node(said):
    cluster = Cluster({1: (0, said), 2: (0, says(partition=5))})
    roll = cluster.roll()
    assert roll.identities([1, 2]) == {1: UNKNOWN, 2: Identity(partition=5)}
    assert roll.order([1, 2]) == [2, 1]


def test_two_of_the_same_partition_are_ordered_by_name_then_by_id_and_none_is_lost():
    said = {
        9: Identity(partition=1, name="a"),
        3: Identity(partition=1, name="b"),
        4: Identity(partition=1, name="b"),
        8: Identity(partition=0, name="z"),
        2: Identity(name="only-a-name"),
        1: UNKNOWN,
    }
    assert order([1, 2, 3, 4, 8, 9, 0], said) == [8, 9, 3, 4, 2, 0, 1]


def test_an_app_that_sees_the_question_as_its_own_query_is_asked_through_flower():
    """A stock SuperNode hands the question to its app: an error reply, as from an app without a query."""
    message = question(1)
    message.metadata.__dict__["_src_node_id"] = 1
    with pytest.raises(ValueError, match="query"):
        numpy_app()(message, Context(1, 1, {}, RecordDict(), {}))
