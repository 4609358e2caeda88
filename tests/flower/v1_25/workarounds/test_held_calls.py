"""Questions for work that are held until there is some."""

import threading
import time

import pytest
from flwr.proto.appio_pb2 import ListAppsToLaunchRequest
from flwr.proto.fleet_pb2 import PullMessagesRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supernode.nodestate import NodeStateFactory
from flwr.supernode.servicer.clientappio.clientappio_servicer import ClientAppIoServicer

from oneflower.flower.v1_25.workarounds import held_calls


class Held:
    """A call in a thread of its own."""

    def __init__(self, function):
        self._thread = threading.Thread(target=self._run, args=(function,))
        self.answer = None
        self._thread.start()

    def _run(self, function):
        self.answer = function()

    def is_waiting(self):
        self._thread.join(0.3)
        return self._thread.is_alive()

    def result(self):
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.answer


@pytest.fixture(autouse=True)
def long_hold(monkeypatch):
    """Long enough that a call which comes back early was woken."""
    monkeypatch.setattr(held_calls, "HOLD_S", 60.0)


@pytest.fixture
def pull(superlink, call):
    fleet = superlink.fleet()
    request = PullMessagesRequest(node=Node(node_id=superlink.node_id))
    return lambda: fleet.PullMessages(request, call)


class TestSuperLink:
    def test_flower_answers_at_once_that_there_is_nothing(self, pull):
        assert not Held(pull).is_waiting()

    def test_the_call_is_held_until_a_message_comes(self, superlink, pull, apply):
        apply(held_calls.SUPERLINK)
        held = Held(pull)
        assert held.is_waiting()
        message_id = superlink.push(superlink.message())
        assert [message.metadata.message_id for message in held.result().messages_list] == [message_id]

    def test_a_message_that_is_there_already_is_handed_out_at_once(self, superlink, pull, apply):
        apply(held_calls.SUPERLINK)
        superlink.push(superlink.message())
        assert len(Held(pull).result().messages_list) == 1

    def test_a_message_for_another_node_wakes_nobody(self, superlink, pull, call, apply):
        apply(held_calls.SUPERLINK)
        held = Held(pull)
        superlink.node_id = superlink.add_node(b"other key")
        superlink.push(superlink.message())
        assert held.is_waiting()
        call.hang_up()
        assert not held.result().messages_list

    def test_who_hangs_up_takes_no_message_along(self, superlink, pull, call, apply):
        """A message that is handed to a connection which is gone counts as delivered."""
        apply(held_calls.SUPERLINK)
        held = Held(pull)
        call.hang_up()
        held.result()
        superlink.push(superlink.message())
        assert len(superlink.states.state().get_message_ins(superlink.node_id, 1)) == 1

    def test_an_unanswered_message_of_a_finished_run_does_not_keep_nodes_asking(
        self, superlink, pull, call, apply
    ):
        apply(held_calls.SUPERLINK)
        superlink.push(superlink.message())
        superlink.states.state().get_message_ins(superlink.node_id, 1)
        superlink.finish()
        held = Held(pull)
        assert held.is_waiting()
        call.hang_up()
        held.result()

    def test_the_call_comes_back_empty_after_the_hold(self, pull, apply, monkeypatch):
        apply(held_calls.SUPERLINK)
        monkeypatch.setattr(held_calls, "HOLD_S", 0.2)
        started = time.monotonic()
        assert not pull().messages_list
        assert time.monotonic() - started >= 0.2

    def test_no_more_calls_are_held_than_leave_threads_for_the_others(self, pull, apply, monkeypatch):
        apply(held_calls.SUPERLINK)
        monkeypatch.setattr(held_calls, "MAX_HELD", 0)
        assert not Held(pull).is_waiting()

    def test_a_node_that_asks_again_is_held_once(self, superlink, pull, apply):
        """Its first connection is gone, or it takes up threads: the first call ends, without a message."""
        apply(held_calls.SUPERLINK)
        first = Held(pull)
        assert first.is_waiting()
        second = Held(pull)
        assert not first.result().messages_list
        assert second.is_waiting()
        superlink.push(superlink.message())
        assert len(second.result().messages_list) == 1

    def test_another_node_that_asks_ends_no_wait(self, superlink, pull, call, apply):
        apply(held_calls.SUPERLINK)
        first = Held(pull)
        assert first.is_waiting()
        request = PullMessagesRequest(node=Node(node_id=superlink.add_node(b"other key")))
        other = Held(lambda: superlink.fleet().PullMessages(request, call))
        assert other.is_waiting()
        assert first.is_waiting()
        call.hang_up()
        first.result()
        other.result()


class TestSuperNode:
    @pytest.fixture
    def states(self):
        return NodeStateFactory(ObjectStoreFactory())

    @pytest.fixture
    def ask(self, states, call):
        servicer = ClientAppIoServicer(states, None, ObjectStoreFactory())
        return lambda: servicer.ListAppsToLaunch(ListAppsToLaunchRequest(), call)

    def test_flower_answers_at_once_that_there_is_nothing(self, ask):
        assert not Held(ask).is_waiting()

    def test_the_call_is_held_until_a_message_comes(self, superlink, states, ask, apply):
        apply(held_calls.SUPERNODE)
        held = Held(ask)
        assert held.is_waiting()
        states.state().store_message(superlink.message())
        assert list(held.result().run_ids) == [superlink.run_id]

    def test_a_message_waits_while_its_run_is_being_served(self, superlink, states, ask, apply):
        apply(held_calls.SUPERNODE)
        states.state().create_token(superlink.run_id)
        states.state().store_message(superlink.message())
        held = Held(ask)
        assert held.is_waiting()
        states.state().delete_token(superlink.run_id)
        assert list(held.result().run_ids) == [superlink.run_id]
