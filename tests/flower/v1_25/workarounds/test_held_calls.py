"""Questions for work that are held until there is some."""

import threading

import grpc
import pytest
from flwr.proto.appio_pb2 import ListAppsToLaunchRequest
from flwr.proto.fleet_pb2 import PullMessagesRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supernode.nodestate import NodeStateFactory
from flwr.supernode.servicer.clientappio.clientappio_servicer import ClientAppIoServicer

from oneflower.flower.v1_25 import questions
from oneflower.flower.v1_25.held import Held as Question
from oneflower.flower.v1_25.questions import QUESTIONS
from oneflower.flower.v1_25.workarounds import held_calls


class Asked:
    """A question for work, as gRPC hands it on, and what was sent for it."""

    def __init__(self, answer, call):
        self._sent = []
        self._ended = threading.Event()
        Question(answer, call, self._send).ask()

    def _send(self, response):
        self._sent.append(response)
        if response is None:
            self._ended.set()

    def is_waiting(self):
        return not self._ended.wait(0.3)

    def ends_without_a_response(self):
        return self._ended.wait(20) and self._sent == [None]

    def result(self):
        assert self._ended.wait(20)
        response, end = self._sent
        assert end is None
        return response


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
    monkeypatch.setattr(questions, "SHORTEST_S", 60.0)
    monkeypatch.setattr(questions, "LONGEST_S", 60.0)


@pytest.fixture
def pull(superlink, call):
    """Ask for work in the name of a node, the first one by default."""
    fleet = superlink.fleet()

    def ask(node_id=None):
        request = PullMessagesRequest(node=Node(node_id=node_id or superlink.node_id))
        return Asked(lambda context: fleet.PullMessages(request, context), call)

    return ask


class TestSuperLink:
    def test_flower_answers_at_once_that_there_is_nothing(self, pull):
        assert not pull().result().messages_list

    def test_the_call_is_held_until_a_message_comes(self, superlink, pull, apply):
        apply(held_calls.SUPERLINK)
        asked = pull()
        assert asked.is_waiting()
        message_id = superlink.push(superlink.message())
        assert [message.metadata.message_id for message in asked.result().messages_list] == [message_id]

    def test_a_call_that_may_not_wait_is_answered_at_once(self, superlink, call, apply):
        """Such as one of another server than the Fleet API's: a thread would have to wait for it."""
        apply(held_calls.SUPERLINK)
        request = PullMessagesRequest(node=Node(node_id=superlink.node_id))
        assert not superlink.fleet().PullMessages(request, call).messages_list

    def test_a_message_that_is_there_already_is_handed_out_at_once(self, superlink, pull, apply):
        apply(held_calls.SUPERLINK)
        superlink.push(superlink.message())
        assert len(pull().result().messages_list) == 1

    def test_a_message_that_comes_while_the_question_is_looked_at_is_not_missed(
        self, superlink, pull, apply, monkeypatch
    ):
        apply(held_calls.SUPERLINK)
        look = held_calls._has_work

        def late(state, node_id):
            found = look(state, node_id)
            if not found:
                superlink.push(superlink.message())
            return found

        monkeypatch.setattr(held_calls, "_has_work", late)
        assert len(pull().result().messages_list) == 1

    def test_a_message_for_another_node_wakes_nobody(self, superlink, pull, call, apply):
        apply(held_calls.SUPERLINK)
        asked = pull()
        superlink.node_id = superlink.add_node(b"other key")
        superlink.push(superlink.message())
        assert asked.is_waiting()
        call.hang_up()

    def test_who_hangs_up_takes_no_message_along(self, superlink, pull, call, apply):
        """A message that is handed to a connection which is gone counts as delivered."""
        apply(held_calls.SUPERLINK)
        before = len(QUESTIONS)
        pull()
        assert len(QUESTIONS) == before + 1
        call.hang_up()
        assert len(QUESTIONS) == before, "it is forgotten"
        superlink.push(superlink.message())
        assert len(superlink.states.state().get_message_ins(superlink.node_id, 1)) == 1

    def test_an_unanswered_message_of_a_finished_run_does_not_keep_nodes_asking(
        self, superlink, pull, call, apply
    ):
        apply(held_calls.SUPERLINK)
        superlink.push(superlink.message())
        superlink.states.state().get_message_ins(superlink.node_id, 1)
        superlink.finish()
        assert pull().is_waiting()
        call.hang_up()

    def test_the_call_comes_back_empty_after_the_hold(self, pull, apply, monkeypatch):
        apply(held_calls.SUPERLINK)
        monkeypatch.setattr(questions, "SHORTEST_S", 0.4)
        asked = pull()
        assert asked.is_waiting()
        assert not asked.result().messages_list

    def test_a_node_that_asks_again_is_held_once(self, superlink, pull, call, apply):
        """Its first connection is gone: the first call ends, and nobody waits until a response is taken."""
        apply(held_calls.SUPERLINK)
        first = pull()
        assert first.is_waiting()
        second = pull()
        assert first.ends_without_a_response()
        assert call.code == grpc.StatusCode.UNAVAILABLE
        assert second.is_waiting()
        superlink.push(superlink.message())
        assert len(second.result().messages_list) == 1

    def test_another_node_that_asks_ends_no_wait(self, superlink, pull, call, apply):
        apply(held_calls.SUPERLINK)
        first = pull()
        other = pull(superlink.add_node(b"other key"))
        assert other.is_waiting()
        assert first.is_waiting()
        call.hang_up()

    def test_a_thousand_questions_take_no_thread(self, superlink, pull, call, apply):
        apply(held_calls.SUPERLINK)
        pull()
        before = threading.active_count()
        asked = [pull(superlink.add_node(str(number).encode())) for number in range(100)]
        assert threading.active_count() == before
        assert asked[0].is_waiting()
        call.hang_up()

    def test_a_question_that_is_refused_later_ends_with_the_status(self, call):
        """The node was removed meanwhile: what answers it runs in another thread than gRPC's."""

        def answer(context):
            if answer.asked:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "gone")
            answer.asked = True
            raise questions.HeldError(1)

        answer.asked = False
        asked = Asked(answer, call)
        QUESTIONS.wake(1)
        assert asked._ended.wait(20)
        assert asked._sent == [None]
        assert (call.code, call.details) == (grpc.StatusCode.UNAUTHENTICATED, "gone")

    def test_a_question_that_fails_later_ends_alone(self, call, caplog):
        def answer(_context):
            if answer.asked:
                raise OSError("the disk is full")
            answer.asked = True
            raise questions.HeldError(2)

        answer.asked = False
        asked = Asked(answer, call)
        QUESTIONS.wake(2)
        assert asked._ended.wait(20)
        assert call.code == grpc.StatusCode.UNKNOWN
        assert "the disk is full" in caplog.text


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
