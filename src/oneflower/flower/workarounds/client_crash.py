"""A ClientApp that was killed is answered for, as Flower means to."""

from functools import wraps
from typing import Any
from weakref import WeakSet

from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState

from oneflower.flower.workarounds.registry import Patch, Program, Workaround

_states: WeakSet[InMemoryNodeState] = WeakSet()


def apply(patch: Patch) -> None:
    """Record when a message that is given up ended, and drop the objects it still holds."""
    original = InMemoryNodeState._on_tokens_expired  # noqa: SLF001 - it is what is mended
    construct = InMemoryNodeState.__init__

    @wraps(construct)
    def remembered(self: Any, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        _states.add(self)

    @wraps(original)
    def on_tokens_expired(self: Any, expired_records: list[tuple[int, float]]) -> None:
        for message_id in _given_up(self, {run_id for run_id, _ in expired_records}):
            if message_id in self.time_store:
                self.record_message_processing_end(message_id)
            self.object_store.delete(message_id)
        original(self, expired_records)

    patch(InMemoryNodeState, "__init__", remembered)
    patch(InMemoryNodeState, "_on_tokens_expired", on_tokens_expired)


def give_up_running() -> None:
    """Let the tokens of every ClientApp expire now: the process that ran them is known to be dead."""
    for state in list(_states):
        with state.lock_token_store:
            for record in state.token_store.values():
                record.active_until = 0.0


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
    # The error reply is made when the app's token expires (30 to 60 s), but sending it asks how long the app
    # ran, which raises because it never ended; the reply is deleted and the round waits its whole timeout.
    defect="the error reply is never sent: in_memory_nodestate.py:239, start_client_internal.py:483",
    programs=frozenset({Program.SUPERNODE}),
    sources={
        "flwr.supernode.nodestate.in_memory_nodestate": {
            "InMemoryNodeState._on_tokens_expired": "0e91fce735c3",
            "InMemoryNodeState.get_message_processing_duration": "514d73708c40",
        },
        "flwr.supernode.start_client_internal": {
            "_push_messages": "2435b7116f7d",
        },
    },
    apply=apply,
)
