"""Messages and replies that get lost: what Flower does, and what it does with the workaround."""

from types import SimpleNamespace

import pytest
from flwr.app import ConfigRecord, RecordDict
from flwr.common.constant import ErrorCode
from flwr.common.typing import RunNotRunningException
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from flwr.supernode import start_client_internal
from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState

from oneflower.flower.v1_25.workarounds.delivery import DROPPED, MAX_DELIVERIES, RECALL


def delivered(superlink):
    return [
        message.metadata.message_id
        for message in superlink.states.state().get_message_ins(superlink.node_id, 1)
    ]


def replies(superlink, message_id):
    return superlink.states.state().get_message_res({message_id})


class TestLostDelivery:
    def test_flower_never_delivers_a_message_again(self, superlink):
        """B4: the answer to PullMessages is lost with its connection, and the message with it."""
        superlink.push(superlink.message())
        assert delivered(superlink)
        assert delivered(superlink) == []

    def test_a_node_that_asks_again_without_having_answered_gets_the_message_again(self, superlink, apply):
        apply(RECALL)
        message_id = superlink.push(superlink.message())
        assert delivered(superlink) == [message_id]
        assert delivered(superlink) == [message_id]

    def test_an_answered_message_is_not_delivered_again(self, superlink, apply):
        apply(RECALL)
        message = superlink.message()
        superlink.push(message)
        delivered(superlink)
        superlink.push(superlink.reply(message))
        assert delivered(superlink) == []

    def test_other_nodes_get_nothing_of_it(self, superlink, apply):
        apply(RECALL)
        superlink.push(superlink.message())
        delivered(superlink)
        other = superlink.add_node(b"other key")
        assert superlink.states.state().get_message_ins(other, 1) == []

    def test_messages_of_a_finished_run_are_left_alone(self, superlink, apply):
        apply(RECALL)
        superlink.push(superlink.message())
        delivered(superlink)
        superlink.finish()
        assert delivered(superlink) == []

    def test_a_message_that_is_lost_again_and_again_is_answered_with_an_error(self, superlink, apply):
        """A message that no node can receive must not be delivered for ever."""
        apply(RECALL)
        message_id = superlink.push(superlink.message())
        for _ in range(MAX_DELIVERIES):
            assert delivered(superlink) == [message_id]
        assert delivered(superlink) == []
        assert [reply.error.code for reply in replies(superlink, message_id)] == [
            ErrorCode.REPLY_MESSAGE_UNAVAILABLE
        ]


class TestLostReply:
    def test_an_error_reply_ends_the_wait_where_the_message_cannot_be_delivered_again(self, superlink, apply):
        """The node had confirmed that it had everything, so its objects are gone; then its reply was lost."""
        apply(RECALL)
        message_id = superlink.push(superlink.message())
        delivered(superlink)
        superlink.objects.store().delete(message_id)
        assert delivered(superlink) == []
        (reply,) = replies(superlink, message_id)
        assert reply.error.code == ErrorCode.REPLY_MESSAGE_UNAVAILABLE
        assert reply.metadata.src_node_id == superlink.node_id

    def test_the_error_reply_has_its_object_in_the_store(self, superlink, apply):
        apply(RECALL)
        message_id = superlink.push(superlink.message())
        delivered(superlink)
        superlink.objects.store().delete(message_id)
        delivered(superlink)
        (reply,) = replies(superlink, message_id)
        assert superlink.objects.store().get(reply.metadata.message_id)


class TestHalfSentReply:
    @pytest.fixture
    def half_sent(self, superlink):
        """A message whose reply is there, but not the reply's objects."""
        message = superlink.message()
        superlink.push(message)
        delivered(superlink)
        superlink.objects.store().delete(message.metadata.message_id)
        content = RecordDict({"numbers": ConfigRecord({"a": 1})})
        superlink.push(superlink.reply(message, content), without_objects=True)
        return message.metadata.message_id

    def test_flower_hands_it_on_and_the_serverapp_waits_for_its_objects(self, superlink, half_sent):
        (reply,) = replies(superlink, half_sent)
        assert not reply.has_error()
        assert superlink.objects.store().get(reply.metadata.message_id) == b""

    def test_it_is_held_back_while_the_node_may_still_be_sending(self, superlink, half_sent, apply):
        apply(RECALL)
        assert replies(superlink, half_sent) == []

    def test_it_becomes_an_error_when_the_node_turns_to_something_else(self, superlink, half_sent, apply):
        apply(RECALL)
        delivered(superlink)
        (reply,) = replies(superlink, half_sent)
        assert reply.error.code == ErrorCode.REPLY_MESSAGE_UNAVAILABLE

    def test_it_becomes_an_error_when_the_node_is_gone(self, superlink, half_sent, apply):
        apply(RECALL)
        state = superlink.states.state()
        state.query("UPDATE node SET online_until = 0")
        (reply,) = state.get_message_res({half_sent})
        assert reply.error.code == ErrorCode.NODE_UNAVAILABLE


class TestDroppedMessage:
    @pytest.fixture
    def pull(self, superlink):
        """Let a SuperNode pull a message whose objects it cannot get; return what its loop then gets."""
        store = InMemoryObjectStore()
        state = InMemoryNodeState(store)
        message = superlink.message()
        state.store_run(SimpleNamespace(run_id=superlink.run_id))

        def no_object(*_):
            raise RuntimeError("connection reset")

        def pull_and_store():
            from flwr.common.inflatable import get_object_tree

            return start_client_internal._pull_and_store_message(
                state=state,
                ffs=None,
                object_store=store,
                node_config={},
                receive=lambda: (message, get_object_tree(message)),
                get_run=None,
                get_fab=None,
                pull_object=no_object,
                confirm_message_received=None,
                trusted_entities=None,
            )

        return pull_and_store

    def test_flower_goes_on_to_wait_for_the_reply_to_a_message_that_it_dropped(self, superlink, pull):
        assert pull() == superlink.run_id

    def test_the_supernode_asks_for_the_next_message(self, pull, apply):
        apply(DROPPED)
        assert pull() is None


class TestIgnoredMessage:
    """The run ends while its message is being received: after a crash of the SuperLink it always does."""

    @pytest.fixture
    def node(self, superlink):
        store = InMemoryObjectStore()
        state = InMemoryNodeState(store)
        message = superlink.message()
        state.store_run(SimpleNamespace(run_id=superlink.run_id))

        def not_running(*_):
            raise RunNotRunningException

        def pull_and_store():
            from flwr.common.inflatable import get_object_tree

            return start_client_internal._pull_and_store_message(
                state=state,
                ffs=None,
                object_store=store,
                node_config={},
                receive=lambda: (message, get_object_tree(message)),
                get_run=None,
                get_fab=None,
                pull_object=not_running,
                confirm_message_received=not_running,
                trusted_entities=None,
            )

        return SimpleNamespace(pull=pull_and_store, state=state, store=store, message=message)

    def test_flower_leaves_it_to_a_clientapp_that_waits_for_its_objects_for_ever(self, node):
        assert node.pull() is None
        assert node.state.get_run_ids_with_pending_messages()
        assert node.store.get(node.message.metadata.message_id) == b""

    def test_it_is_forgotten_with_its_objects(self, node, apply):
        apply(DROPPED)
        assert node.pull() is None
        assert not node.state.get_run_ids_with_pending_messages()
        assert node.store.get(node.message.metadata.message_id) is None
