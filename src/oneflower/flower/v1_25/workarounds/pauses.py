"""Pauses of Flower's that nobody needs: each is ended by what it waits for, or grows with the idle time."""

import threading
from functools import partial, wraps
from typing import Any

import grpc
from flwr.common import grpc as flower_grpc
from flwr.common.inflatable_utils import pull_and_inflate_object_from_tree, pull_objects
from flwr.common.retry_invoker import exponential
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from flwr.supercore.superexec import run_superexec
from flwr.supernode import start_client_internal
from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState

from oneflower.flower.v1_25.pace import Pace
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround

SHORTEST_S = 0.2
"""The SuperLink's database serves 65 to 130 calls a second: a few nodes must not use them up."""
PATIENCE = {"initial_backoff": 0.02, "backoff_cap": 1.0, "max_tries_per_object": None}
"""Seconds; the pauses double up to the cap. Flower's `max_time` of 7200 s still ends the wait."""
LONGEST_S = 2
"""Longest pause between two attempts; each is drawn between 0 and this, so that nodes do not come in step."""
BACK_OFF = (
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.max_reconnect_backoff_ms", 1000 * LONGEST_S),
    ("grpc.min_reconnect_backoff_ms", 5000),
)
"""gRPC refuses calls at once until its own pause is over; the last is how long it waits for an answer."""


class Channels:
    """The module ``grpc``, whose channels reconnect sooner."""

    def __getattr__(self, name: str) -> Any:
        """Return whatever else the module has."""
        return getattr(grpc, name)

    def insecure_channel(self, target: str, *, options: Any = ()) -> Any:
        """Return a channel without TLS."""
        return grpc.insecure_channel(target, options=[*options, *BACK_OFF])

    def secure_channel(self, target: str, credentials: Any, *, options: Any = ()) -> Any:
        """Return a channel with TLS."""
        return grpc.secure_channel(target, credentials, options=[*options, *BACK_OFF])


def quicken_supernode(patch: Patch) -> None:
    """Shorten the idle pause, and end the pauses in `_push_messages` when what they wait for is there."""
    arrival = threading.Event()
    for owner, name in ((InMemoryNodeState, "store_message"), (InMemoryObjectStore, "put")):
        patch(owner, name, _announcing(getattr(owner, name), arrival))
    patch(start_client_internal, "time", Pace(idle_s=3, arrival=arrival, shortest_s=SHORTEST_S))


def quicken_superexec(patch: Patch) -> None:
    """Count the second between two calls from the start of one to the start of the next."""
    patch(run_superexec, "time", Pace(idle_s=1))


def quicken_objects(patch: Patch) -> None:
    """Change the defaults that no caller of Flower's overrides."""
    for function in (pull_objects, pull_and_inflate_object_from_tree):
        patch(function, "__kwdefaults__", {**(function.__kwdefaults__ or {}), **PATIENCE})


def quicken_reconnection(patch: Patch) -> None:
    """Cap both pauses; a SuperNode whose attempts are counted (FL_MAX_RETRIES) keeps Flower's."""
    make = start_client_internal._make_fleet_connection_retry_invoker  # noqa: SLF001 - it is what is mended

    @wraps(make)
    def make_quick(*args: Any, **kwargs: Any) -> Any:
        invoker = make(*args, **kwargs)
        if invoker.max_tries is None:
            invoker.wait_gen_factory = partial(exponential, max_delay=LONGEST_S)
        return invoker

    patch(start_client_internal, "_make_fleet_connection_retry_invoker", make_quick)
    patch(flower_grpc, "grpc", Channels())


def _announcing(original: Any, arrival: threading.Event) -> Any:
    @wraps(original)
    def announced(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        arrival.set()
        return result

    return announced


SUPERNODE = Workaround(
    name="quick-supernode",
    purpose=Purpose.SPEED,
    effect="A SuperNode pauses for 3 s when it is idle, and for 0.5 s while it waits for a reply or its "
    "arrays.",
    cause="fixed pauses: start_client_internal.py:264, 442 and 476",
    programs=frozenset({Program.SUPERNODE}),
    # Both announce an arrival. Which of them lies inside the other does not matter, but is fixed.
    after=("held-launches",),
    sources={
        "flwr.supernode.start_client_internal": {
            "time": "c44b3712053f",
            "start_client_internal": "50313decfb88",
            "_push_messages": "2435b7116f7d",
        },
        "flwr.supernode.nodestate.in_memory_nodestate": {"InMemoryNodeState.store_message": "b584f0da5c4d"},
        "flwr.supercore.object_store.in_memory_object_store": {"InMemoryObjectStore.put": "978d351a5471"},
    },
    apply=quicken_supernode,
)

SUPEREXEC = Workaround(
    name="quick-superexec",
    purpose=Purpose.SPEED,
    effect="An executor pauses for a second after each question for work.",
    cause="a fixed pause: run_superexec.py:150",
    programs=frozenset({Program.SUPEREXEC}),
    sources={
        "flwr.supercore.superexec.run_superexec": {"time": "59a32cc7d2c8", "run_superexec": "b05a4a9ec550"},
    },
    apply=quicken_superexec,
)

OBJECTS = Workaround(
    name="object-backoff",
    purpose=Purpose.SPEED,
    effect="A second's pause where an array of a message is not there yet, as nearly always with a "
    "SuperNode that is quick: a message is delivered before its arrays are pushed.",
    cause="pauses of 1 s to 10 s that cannot be set: constant.py:172, inflatable_utils.py:231 and 465",
    programs=frozenset({Program.SUPERNODE, Program.SERVERAPP, Program.CLIENTAPP}),
    sources={
        "flwr.common.inflatable_utils": {
            "pull_objects": "5673b3413241",
            "pull_and_inflate_object_from_tree": "139811483a15",
        },
    },
    apply=quicken_objects,
)

RECONNECTION = Workaround(
    name="quick-reconnection",
    purpose=Purpose.SPEED,
    effect="Pauses grow with an outage, Flower's to 20 s and gRPC's to two minutes on top: a SuperNode "
    "finds a SuperLink that is back late. A limit on the attempts (FL_MAX_RETRIES) keeps Flower's pauses.",
    cause="pauses that double: retry_invoker.py:377, grpc.py:64",
    programs=frozenset({Program.SUPERNODE}),
    sources={
        "flwr.supernode.start_client_internal": {"_make_fleet_connection_retry_invoker": "3353fc789a2d"},
        "flwr.common.retry_invoker": {
            "_make_simple_grpc_retry_invoker": "c42ffb6481f8",
            "RetryInvoker.__init__": "a6b3929ccf2a",
            "exponential": "f3b566f7b0b1",
        },
        "flwr.common.grpc": {"grpc": "2f448a87ddc0", "create_channel": "6d71819bdc98"},
    },
    apply=quicken_reconnection,
)
