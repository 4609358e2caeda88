"""A killed ClientApp gets the error reply that Flower intends, and no reply is sent before it is complete."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from flwr.common.inflatable import iterate_object_tree
from flwr.supercore.object_store.object_store import NoObjectInStoreError
from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState

from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround

_states: WeakSet[InMemoryNodeState] = WeakSet()
# By state and reply: the objects that were not there when it was last looked at, the last to come first.
_missing: WeakKeyDictionary[InMemoryNodeState, dict[str, list[str]]] = WeakKeyDictionary()


def apply(patch: Patch) -> None:
    """Record when a message that is given up ended, and delete what is left of it and of its reply.

    A reply is held back until all of its objects are there: sending it waits for them without end.
    """
    get_messages = InMemoryNodeState.get_messages
    original = InMemoryNodeState._on_tokens_expired  # noqa: SLF001 - it is what is mended
    construct = InMemoryNodeState.__init__

    @wraps(construct)
    def remembered(self: Any, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        _states.add(self)

    @wraps(original)
    def on_tokens_expired(self: Any, expired_records: list[tuple[int, float]]) -> None:
        run_ids = {run_id for run_id, _ in expired_records}
        with self.lock_msg_store:
            for message_id in _incomplete(self, run_ids):
                del self.msg_store[message_id]
                self.object_store.delete(message_id)
            for message_id in _given_up(self, run_ids):
                if message_id in self.time_store:
                    self.record_message_processing_end(message_id)
                self.object_store.delete(message_id)
            original(self, expired_records)

    @wraps(get_messages)
    def whole_messages(self: Any, **filters: Any) -> Any:
        if not filters.get("is_reply"):
            return get_messages(self, **filters)
        self._cleanup_expired_tokens()
        with self.lock_msg_store, _hidden(self, _incomplete(self, None)):
            return get_messages(self, **filters)

    patch(InMemoryNodeState, "__init__", remembered)
    patch(InMemoryNodeState, "_on_tokens_expired", on_tokens_expired)
    patch(InMemoryNodeState, "get_messages", whole_messages)


def give_up_running() -> None:
    """Let the tokens of every ClientApp expire now: the process that ran them is known to be dead."""
    for state in list(_states):
        with state.lock_token_store:
            for record in state.token_store.values():
                record.active_until = 0.0


def _incomplete(state: Any, run_ids: set[int] | None) -> list[str]:
    """List the replies, of these runs or all, of which the ClientApp has not pushed every object yet."""
    known = _missing.setdefault(state, {})
    replies = {
        message_id
        for message_id, entry in state.msg_store.items()
        if not entry.is_retrieved and entry.message.metadata.reply_to_message_id
    }
    for message_id in known.keys() - replies:
        del known[message_id]
    return [
        message_id
        for message_id in replies
        if (run_ids is None or state.msg_store[message_id].message.metadata.run_id in run_ids)
        and _lacks(state.object_store, message_id, known)
    ]


def _lacks(store: Any, message_id: str, known: dict[str, list[str]]) -> bool:
    """Whether an object of a reply is missing; those that were seen once are not looked up again."""
    if message_id not in known:
        try:
            tree = store.get_object_tree(message_id)
        except NoObjectInStoreError:
            return False  # sending it fails, and says so
        known[message_id] = [node.object_id for node in iterate_object_tree(tree)][::-1]
    missing = known[message_id]
    while missing and store.get(missing[-1]) != b"":
        missing.pop()
    return bool(missing)


@contextmanager
def _hidden(state: Any, message_ids: list[str]) -> Iterator[None]:
    """Take messages out of the store for a moment, with its lock held."""
    entries = {message_id: state.msg_store.pop(message_id) for message_id in message_ids}
    try:
        yield
    finally:
        state.msg_store.update(entries)


def _given_up(state: Any, run_ids: set[int]) -> list[str]:
    """List the messages that a ClientApp took and never answered."""
    with state.lock_msg_store:
        return [
            message_id
            for message_id, entry in state.msg_store.items()
            if entry.is_retrieved
            and entry.message.metadata.run_id in run_ids
            and entry.message.metadata.reply_to_message_id == ""
        ]


WORKAROUND = Workaround(
    name="crashed-clientapp",
    purpose=Purpose.SAFETY,
    effect="A ClientApp that is killed (out of memory, `kill -9`) is never answered for, and the round "
    "waits its whole timeout; one that is killed while it pushes its reply leaves a SuperNode that waits "
    "for the rest for ever and does no more work.",
    # The error reply is made when the app's token expires (30 to 60 s), but sending it asks how long the app
    # ran, which raises because it never ended, and the reply is deleted.
    cause="the error reply is never sent: in_memory_nodestate.py:239, start_client_internal.py:483; the "
    "rest of a reply is waited for without end: start_client_internal.py:475",
    programs=frozenset({Program.SUPERNODE}),
    sources={
        "flwr.supernode.nodestate.in_memory_nodestate": {
            "InMemoryNodeState.__init__": "89b9800b37c0",
            "InMemoryNodeState._on_tokens_expired": "0e91fce735c3",
            "InMemoryNodeState.get_messages": "2fdf07b7619c",
            "InMemoryNodeState.get_message_processing_duration": "514d73708c40",
            "InMemoryNodeState.record_message_processing_end": "c402cd42d2d1",
            "MessageEntry": "7e4409a5c0f4",
        },
        "flwr.supercore.corestate.in_memory_corestate": {
            "InMemoryCoreState.__init__": "f5bfcd72f429",
            "InMemoryCoreState._cleanup_expired_tokens": "6040daf0288a",
            "InMemoryCoreState.object_store": "698d39f97a5f",
            "TokenRecord": "6d3e9625db36",
        },
        "flwr.supercore.object_store.in_memory_object_store": {
            "InMemoryObjectStore.delete": "e6ab07f837d6",
            "InMemoryObjectStore.get": "b67cbc37f989",
            "InMemoryObjectStore.get_object_tree": "1283fc620bd1",
        },
        "flwr.supercore.object_store.object_store": {"NoObjectInStoreError": "dd414d00e383"},
        "flwr.supernode.start_client_internal": {"_push_messages": "2435b7116f7d"},
        "flwr.common.inflatable": {"iterate_object_tree": "34c0fe845619"},
        "flwr.proto.message_pb2": {"ObjectTree": "7ec5ec452c01"},
    },
    apply=apply,
)
