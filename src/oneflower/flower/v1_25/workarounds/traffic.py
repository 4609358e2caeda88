"""A message that a SuperNode asks for too early is not lost (0-byte accounting)."""

from functools import wraps
from typing import Any

from flwr.server.superlink.linkstate import InMemoryLinkState, SqliteLinkState

from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Workaround


def apply(patch: Patch) -> None:
    """Let `store_traffic` take 0 bytes for what they are: nothing to add."""
    for state in (SqliteLinkState, InMemoryLinkState):
        patch(state, "store_traffic", _tolerant(state.store_traffic))


def _tolerant(original: Any) -> Any:
    @wraps(original)
    def store_traffic(self: Any, run_id: int, *, bytes_sent: int, bytes_recv: int) -> None:
        if bytes_sent or bytes_recv:
            original(self, run_id, bytes_sent=bytes_sent, bytes_recv=bytes_recv)

    return store_traffic


WORKAROUND = Workaround(
    name="zero-byte-traffic",
    # pull_object answers "not available yet" with 0 bytes (message_handler.py:323) and accounts for them;
    # store_traffic refuses 0, the call fails, the SuperNode drops the message and waits for ever.
    defect="store_traffic refuses 0 bytes: sqlite_linkstate.py:1276, in_memory_linkstate.py:788",
    programs=frozenset({Program.SUPERLINK}),
    sources={
        "flwr.server.superlink.linkstate.sqlite_linkstate": {
            "SqliteLinkState.store_traffic": "af0874f0f4bc",
        },
        "flwr.server.superlink.linkstate.in_memory_linkstate": {
            "InMemoryLinkState.store_traffic": "f457fdaeb0f1",
        },
        "flwr.server.superlink.fleet.message_handler.message_handler": {
            "pull_object": "2ec57ad238c8",
        },
    },
    apply=apply,
)
