"""SuperNode and superexec ask at a pace that fits what is going on, and notice a reply at once."""

import threading
from functools import wraps
from typing import Any

from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from flwr.supercore.superexec import run_superexec
from flwr.supernode import start_client_internal
from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState

from oneflower.flower.pace import Pace
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Workaround

SHORTEST_S = 0.2
"""The SuperLink's database serves 65 to 130 questions a second: a few nodes must not use them up."""


def apply_supernode(patch: Patch) -> None:
    """Shorten the idle pause, and end the pauses in `_push_messages` when what they wait for is there."""
    arrival = threading.Event()
    for owner, name in ((InMemoryNodeState, "store_message"), (InMemoryObjectStore, "put")):
        patch(owner, name, _announcing(getattr(owner, name), arrival))
    patch(start_client_internal, "time", Pace(idle_s=3, arrival=arrival, shortest_s=SHORTEST_S))


def apply_superexec(patch: Patch) -> None:
    """Count the second between two questions from the start of the one to the start of the next."""
    patch(run_superexec, "time", Pace(idle_s=1))


def _announcing(original: Any, arrival: threading.Event) -> Any:
    @wraps(original)
    def announced(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        arrival.set()
        return result

    return announced


SUPERNODE = Workaround(
    name="quick-supernode",
    defect="pauses of 3 s when idle, 0.5 s for a reply, 0.5 s for its objects: "
    "start_client_internal.py:264, 442 and 476",
    programs=frozenset({Program.SUPERNODE}),
    sources={
        "flwr.supernode.start_client_internal": {
            "start_client_internal": "50313decfb88",
            "_push_messages": "2435b7116f7d",
        },
    },
    apply=apply_supernode,
)

SUPEREXEC = Workaround(
    name="quick-superexec",
    defect="a pause of 1 s after each question: run_superexec.py:150",
    programs=frozenset({Program.SUPEREXEC}),
    sources={"flwr.supercore.superexec.run_superexec": {"run_superexec": "b05a4a9ec550"}},
    apply=apply_superexec,
)
