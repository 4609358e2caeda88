"""Each reply is pulled by itself: what is wrong with it is its client's, and its client is who was asked."""

import grpc
import numpy as np
import pytest
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode

from oneflower.codes import LeftOutCode
from oneflower.flower.refusals import CHUNK_BYTES, LONGEST_REASON, limits_for, refusal_of
from oneflower.flower.reply_grid import ReplyGrid

from ..attacks.attacker import Made, from_flower, honest_content, metrics, record, reply
from ..attacks.in_process import NODE, RUN, FakeGrid
from ..attacks.mutations import model


class CallError(grpc.RpcError):
    def __init__(self, code):
        super().__init__()
        self._code = code

    def code(self):
        return self._code


def pulled(*answers, failing=None):
    """Push a message for each answer to a node of its own; return their ids and the replies."""
    inner, given = FakeGrid(), iter(answers)

    def answer(asked):
        return next(given)(asked)

    inner.answer = answer
    grid = ReplyGrid(inner)
    ids = [
        each
        for index in range(len(answers))
        for each in grid.push_messages([Message(model(), NODE + index, "train")])
    ]
    if failing is not None:
        failing(inner, ids)
    return ids, inner, list(grid.pull_messages(ids))


def good(asked):
    return reply(asked, from_flower(honest_content(asked)))


def unreadable(asked):
    return reply(asked, Made("RecordDict", (metrics(a=1),), b"this is no json"))


def test_a_good_reply_comes_with_its_content():
    _, inner, (found,) = pulled(good)
    assert np.array_equal(found.content["arrays"]["w"].numpy(), np.full(8, 0.5, np.float32))
    assert len(inner.confirmed) == 1


def test_one_that_cannot_be_read_harms_no_other():
    _, inner, found = pulled(good, unreadable, good)
    assert [message.has_content() for message in found] == [True, False, True]
    assert refusal_of(found[1]).why is LeftOutCode.UNREADABLE
    assert found[1].metadata.src_node_id == NODE + 1
    assert len(inner.confirmed) == 3


@pytest.mark.parametrize("error", [ValueError("x" * 10_000), RecursionError(), MemoryError(), KeyError("a")])
def test_whatever_is_raised_is_that_replys(monkeypatch, error):
    from oneflower.flower.v1_25 import replies

    def fail(*_):
        raise error

    monkeypatch.setattr(replies, "inflate", fail)
    _, inner, (found,) = pulled(good)
    refusal = refusal_of(found)
    assert refusal.why is LeftOutCode.UNREADABLE
    assert type(error).__name__ in refusal.reason
    assert len(refusal.reason) <= LONGEST_REASON
    assert len(inner.confirmed) == 1


@pytest.mark.parametrize(
    "forged",
    [
        {"src_node_id": NODE + 7},
        {"message_type": "evaluate"},
        {"reply_to_message_id": "f" * 64},
        {"group_id": "x"},
        {"run_id": 3},
        {"created_at": float("nan")},
    ],
    ids=str,
)
def test_who_has_answered_what_is_as_it_was_asked(forged):
    def answer(asked):
        return reply(asked, record(metrics=metrics(num_examples=1)), **forged)

    (message_id,), _, (found,) = pulled(answer)
    metadata = found.metadata
    assert (metadata.src_node_id, metadata.run_id, metadata.message_type) == (NODE, RUN, "train")
    assert (metadata.reply_to_message_id, metadata.group_id) == (message_id, "")


def test_no_client_can_send_a_refusal():
    """An error of a client stays that client's failure, whatever its code and words."""
    _, _, (found,) = pulled(lambda asked: reply(asked, error=(ErrorCode.UNKNOWN, "the reply cannot be read")))
    assert found.has_error()
    assert refusal_of(found) is None


def test_a_reply_to_a_message_that_was_not_sent_is_dropped():
    inner = FakeGrid()
    grid = ReplyGrid(inner)
    inner.answer = good
    list(inner.push_messages([Message(model(), NODE, "train")]))
    assert list(grid.pull_messages(list(inner.replies))) == []
    assert len(inner.confirmed) == 1


def test_a_reply_that_the_superlink_fails_on_harms_no_other():
    def failing(inner, ids):
        inner.failing[ids[1]] = CallError(grpc.StatusCode.UNKNOWN)

    _, _, found = pulled(good, good, good, failing=failing)
    assert [message.has_content() for message in found] == [True, False, True]
    assert found[1].error.code == ErrorCode.MESSAGE_UNAVAILABLE
    assert found[1].metadata.src_node_id == NODE + 1


def test_an_object_that_the_superlink_fails_on_is_a_failure_of_its_client():
    def answer(asked):
        made = good(asked)
        failed.append(made.id)
        return made

    def failing(inner, ids):
        inner.failing[failed[0]] = CallError(grpc.StatusCode.RESOURCE_EXHAUSTED)

    failed = []
    _, _, (found,) = pulled(answer, failing=failing)
    assert found.error.code == ErrorCode.MESSAGE_UNAVAILABLE


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED])
def test_a_superlink_that_is_gone_is_no_clients_fault(code):
    def failing(inner, ids):
        inner.failing[ids[0]] = CallError(code)

    with pytest.raises(grpc.RpcError):
        pulled(good, good, failing=failing)


def test_a_larger_model_may_come_back_larger():
    content = RecordDict({"arrays": ArrayRecord([np.zeros(20_000_000, np.float32)])})
    inner = FakeGrid()
    inner.answer = lambda asked: reply(
        asked,
        from_flower(RecordDict({"arrays": content["arrays"], "metrics": MetricRecord({"num-examples": 1})})),
    )
    grid = ReplyGrid(inner)
    ids = list(grid.push_messages([Message(content, NODE, "train")]))
    (found,) = grid.pull_messages(ids)
    assert len(found.content["arrays"]["0"].data) > 80_000_000


class TestOperatorsLimit:
    def test_it_replaces_what_follows_from_the_message(self):
        content = RecordDict({"arrays": ArrayRecord([np.zeros(1_000)])})
        assert limits_for(content, 5_000_000_000).num_bytes == 5_000_000_000
        assert limits_for(content, 1_000).num_bytes == 1_000

    def test_a_larger_one_lets_in_as_many_chunks(self):
        assert limits_for(RecordDict(), 50_000_000_000).objects >= 50_000_000_000 // CHUNK_BYTES
