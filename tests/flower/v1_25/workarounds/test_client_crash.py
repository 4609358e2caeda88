"""A ClientApp that was killed, as the SuperNode that waits for it sees it."""

import threading

import numpy as np
import pytest
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.common.inflatable import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from flwr.supernode import start_client_internal
from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState

from oneflower.flower.v1_25.workarounds import client_crash
from oneflower.flower.v1_25.workarounds.client_crash import WORKAROUND


class SuperNode:
    """The state of a SuperNode whose ClientApp took a message and died."""

    def __init__(self, superlink):
        self.store = InMemoryObjectStore()
        self.state = InMemoryNodeState(self.store)
        message = superlink.message()
        self.store.preregister(superlink.run_id, get_object_tree(message))
        for object_id, part in get_all_nested_objects(message).items():
            self.store.put(object_id, part.deflate())
        self.state.store_message(message)
        self.state.create_token(superlink.run_id)
        self.state.get_messages(run_ids=[superlink.run_id], is_reply=False)
        self.state.record_message_processing_start(message.metadata.message_id)
        self.sent = []
        self.pull_objects = False

    def expire(self):
        for record in self.state.token_store.values():
            record.active_until = 0.0

    def push(self):
        """Send what there is to send; the messages end up in `sent`."""

        def send(message, tree, _runtime):
            self.sent.append(message)
            return {node.object_id for node in iterate_object_tree(tree)} if self.pull_objects else set()

        start_client_internal._push_messages(self.state, self.store, send, lambda *_: None)


@pytest.fixture
def supernode(superlink):
    return SuperNode(superlink)


def test_flower_makes_the_error_reply_and_never_sends_it(supernode):
    """B1: nobody recorded when the app ended, which sending the reply asks for."""
    supernode.expire()
    supernode.push()
    assert supernode.sent == []


def test_the_error_reply_is_sent(supernode, apply):
    apply(WORKAROUND)
    supernode.expire()
    supernode.push()
    assert [message.error.code for message in supernode.sent] == [ErrorCode.CLIENT_APP_CRASHED]


def test_flower_keeps_the_objects_that_the_app_had_not_confirmed(supernode):
    supernode.expire()
    supernode.push()
    assert len(supernode.store) > 0


def test_nothing_of_the_message_is_kept(supernode, apply):
    apply(WORKAROUND)
    supernode.expire()
    supernode.push()
    assert len(supernode.store) == 0


def test_the_reply_is_made_at_once_when_the_executor_is_known_to_be_dead(superlink, apply):
    apply(WORKAROUND)
    supernode = SuperNode(superlink)
    client_crash.give_up_running()
    supernode.push()
    assert [message.error.code for message in supernode.sent] == [ErrorCode.CLIENT_APP_CRASHED]


@pytest.fixture
def torn(superlink):
    """Make SuperNodes whose executor has pushed a reply, and none of its objects yet."""

    def make():
        supernode = SuperNode(superlink)
        (entry,) = supernode.state.msg_store.values()
        reply = Message(RecordDict({"arrays": ArrayRecord([np.ones(3)])}), reply_to=entry.message)
        with no_object_id_recompute():
            reply.metadata._message_id = reply.object_id
            supernode.reply = reply
            supernode.store.preregister(superlink.run_id, get_object_tree(reply))
        supernode.state.store_message(reply)
        supernode.state.record_message_processing_end(entry.message.metadata.message_id)
        return supernode

    return make


def push_beside(supernode):
    """Send in a thread, which may never come back."""
    thread = threading.Thread(target=supernode.push, daemon=True)
    thread.start()
    return thread


def test_flower_waits_without_end_for_the_objects_of_an_app_that_died_while_it_pushed_them(torn):
    supernode = torn()
    supernode.pull_objects = True
    thread = push_beside(supernode)
    supernode.expire()
    thread.join(2.0)
    assert thread.is_alive()
    for object_id, part in get_all_nested_objects(supernode.reply).items():
        supernode.store.put(object_id, part.deflate())
    thread.join(10)
    assert not thread.is_alive()


def test_an_app_that_died_while_it_pushed_its_reply_is_answered_for(torn, apply):
    apply(WORKAROUND)
    supernode = torn()
    supernode.pull_objects = True
    thread = push_beside(supernode)
    thread.join(1.0)
    assert thread.is_alive()
    assert not supernode.sent
    client_crash.give_up_running()
    thread.join(10)
    assert [message.error.code for message in supernode.sent] == [ErrorCode.CLIENT_APP_CRASHED]
    assert len(supernode.store) == 0


def test_a_reply_is_sent_as_soon_as_all_of_it_is_there(torn, apply):
    apply(WORKAROUND)
    supernode = torn()
    thread = push_beside(supernode)
    for object_id, part in get_all_nested_objects(supernode.reply).items():
        assert not supernode.sent
        supernode.store.put(object_id, part.deflate())
    thread.join(10)
    assert [message.metadata.message_id for message in supernode.sent] == [supernode.reply.object_id]
