"""The ServerApp's question for replies."""

import threading
import time

import pytest
from flwr.app import Error
from flwr.proto.appio_pb2 import PullAppMessagesRequest
from flwr.server.superlink.serverappio.serverappio_servicer import ServerAppIoServicer
from flwr.supercore.ffs import FfsFactory

from oneflower.flower.v1_25.lane import LANE, Rank
from oneflower.flower.v1_25.replies import HOLD_HEADER
from oneflower.flower.v1_25.stored_messages import answer
from oneflower.flower.v1_25.workarounds import delivery, held_replies


@pytest.fixture
def ask(superlink, call, tmp_path, monkeypatch):
    """Ask for the replies to some messages in a thread; the question may be held for 20 s."""
    monkeypatch.setattr(held_replies, "HOLD_S", 20.0)
    call.metadata = ((HOLD_HEADER, "20.0"),)
    servicer = ServerAppIoServicer(superlink.states, FfsFactory(str(tmp_path / "ffs")), superlink.objects)
    found, threads = [], []

    def start(*message_ids):
        request = PullAppMessagesRequest(run_id=superlink.run_id, message_ids=message_ids)
        threads.append(threading.Thread(target=lambda: found.append(servicer.PullMessages(request, call))))
        threads[-1].start()

    def is_waiting():
        threads[-1].join(0.3)
        return threads[-1].is_alive()

    def result():
        threads[-1].join(20)
        return found[-1]

    start.is_waiting, start.result = is_waiting, result
    yield start
    call.hang_up()
    held_replies.REPLIES.came()
    for thread in threads:
        thread.join(20)


def test_flower_answers_at_once(superlink, ask):
    ask(superlink.push(superlink.message()))
    assert not ask.is_waiting()


def test_an_error_reply_ends_the_wait(superlink, ask, apply):
    apply(held_replies.WORKAROUND)
    message = superlink.message()
    ask(superlink.push(message))
    assert ask.is_waiting()
    answer(superlink.states.state(), message, Error(1, "it failed"))
    (reply,) = ask.result().messages_list
    assert reply.metadata.reply_to_message_id == message.metadata.message_id


@pytest.mark.parametrize("metadata", [(), ((HOLD_HEADER, "soon"),), ((HOLD_HEADER, "-1"),)])
def test_a_question_that_does_not_say_how_long_is_answered_at_once(superlink, ask, call, apply, metadata):
    """As a ServerApp of stock Flower asks, or who has something else to do meanwhile."""
    apply(held_replies.WORKAROUND)
    call.metadata = metadata
    ask(superlink.push(superlink.message()))
    assert not ask.is_waiting()


@pytest.mark.parametrize(("most", "asked"), [(0.4, "20.0"), (20.0, "0.4")])
def test_it_is_answered_after_the_hold(superlink, ask, call, apply, monkeypatch, most, asked):
    monkeypatch.setattr(held_replies, "HOLD_S", most)
    call.metadata = ((HOLD_HEADER, asked),)
    apply(held_replies.WORKAROUND)
    ask(superlink.push(superlink.message()))
    assert ask.is_waiting()
    assert not ask.result().messages_list


def test_nobody_waits_in_the_lane(superlink, ask, apply):
    apply(held_replies.WORKAROUND)
    ask(superlink.push(superlink.message()))
    assert ask.is_waiting()
    began = time.monotonic()
    with LANE.turn(Rank.OBJECT):
        assert time.monotonic() - began < 10


def test_only_messages_with_a_reply_or_without_hope_are_looked_at(superlink, apply, monkeypatch):
    apply(delivery.RECALL)
    looked = []
    under_way = delivery._is_under_way
    monkeypatch.setattr(delivery, "_is_under_way", lambda *args: looked.append(args[1]) or under_way(*args))
    apply(held_replies.WORKAROUND)
    state = superlink.states.state()
    waiting = [superlink.push(superlink.message(values=(number,))) for number in range(20)]
    answered, expired = superlink.message(values=(100.0,)), superlink.message(values=(200.0,))
    superlink.push(answered)
    answer(state, answered, Error(1, "it failed"))
    gone = superlink.push(expired)
    state.query("UPDATE message_ins SET ttl = 0.0 WHERE message_id = ?", (gone,))
    known = answered.metadata.message_id
    replies = state.get_message_res({*waiting, known, gone})
    assert sorted(looked) == sorted([known, gone])
    assert {each.metadata.reply_to_message_id for each in replies} == {known, gone}


def test_the_message_of_a_node_that_is_gone_gets_its_error(superlink, apply):
    apply(held_replies.WORKAROUND)
    state = superlink.states.state()
    message_id = superlink.push(superlink.message())
    assert state.get_message_res({message_id}) == []
    state.deactivate_node(superlink.node_id)
    (reply,) = state.get_message_res({message_id})
    assert reply.has_error()
