"""The pauses of SuperNode and superexec."""

import threading
import time

import pytest
from flwr.common.inflatable import get_all_nested_objects, get_object_tree
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from flwr.supercore.superexec import run_superexec
from flwr.supernode import start_client_internal
from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState

from oneflower.flower.v1_25.workarounds import pauses


def test_flower_pauses_with_the_clock_itself():
    assert start_client_internal.time is time
    assert run_superexec.time is time


@pytest.fixture
def pushing(superlink):
    """A SuperNode that waits for the reply to a message; call it to let the reply come, in two steps."""
    store = InMemoryObjectStore()
    state = InMemoryNodeState(store)
    message = superlink.message()
    state.store_message(message)
    state.get_messages(is_reply=False)
    state.record_message_processing_start(message.metadata.message_id)
    reply = superlink.reply(message)
    waits = []

    def answer():
        store.preregister(superlink.run_id, get_object_tree(reply))
        state.record_message_processing_end(message.metadata.message_id)
        state.store_message(reply)
        for object_id, part in get_all_nested_objects(reply).items():
            store.put(object_id, part.deflate())

    def push():
        thread = threading.Timer(0.05, answer)
        thread.start()
        started = time.monotonic()
        start_client_internal._push_messages(
            state, store, lambda *_: {reply.metadata.message_id}, lambda *_: None
        )
        waits.append(time.monotonic() - started)
        return waits[-1]

    return push


def test_flower_looks_for_a_reply_every_half_second(pushing):
    assert pushing() >= 0.5


def test_a_reply_is_noticed_when_it_comes(pushing, apply, monkeypatch):
    """The pauses are counted, not timed: one that lasts its whole time would be the workaround's failure."""
    apply(pauses.SUPERNODE)
    full = []
    wait = threading.Event.wait

    def watched(event, timeout=None):
        if timeout != 0.5:
            return wait(event, timeout)
        arrived = wait(event, 10.0)
        if not arrived:
            full.append(timeout)
        return arrived

    monkeypatch.setattr("threading.Event.wait", watched)
    pushing()
    assert full == []
