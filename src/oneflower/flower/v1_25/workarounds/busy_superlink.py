"""A SuperNode whose call a busy SuperLink did not take tries again instead of ending."""

from functools import wraps
from typing import Any, Final

import grpc
from flwr.supernode import start_client_internal

from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround

EXHAUSTED: Final = grpc.StatusCode["RESOURCE_EXHAUSTED"]
CANCELLED: Final = grpc.StatusCode["CANCELLED"]
CANCELLED_BY_SERVER: Final = "CANCELLED"
"""gRPC's words for a call that the other side has cancelled: nobody took it for 30 s, or it took too long."""
TOO_MANY_CALLS: Final = "Concurrent RPC limit exceeded"
"""gRPC's words: grpc/_server.py:1104. With other words the status is for a message that is too large."""


def retry_when_busy(patch: Patch) -> None:
    """Let Flower's pauses between two attempts follow a call that a busy server refused or cancelled."""
    make = start_client_internal._make_fleet_connection_retry_invoker  # noqa: SLF001 - it is what is mended

    @wraps(make)
    def make_patient(*args: Any, **kwargs: Any) -> Any:
        invoker = make(*args, **kwargs)
        gives_up = invoker.should_giveup or _never
        invoker.should_giveup = lambda error: not is_busy(error) and gives_up(error)
        return invoker

    patch(start_client_internal, "_make_fleet_connection_retry_invoker", make_patient)


def _never(_error: Exception) -> bool:
    return False


def is_busy(error: Any) -> bool:
    """Whether a SuperLink refused a call because it had too many, or cancelled it for want of time."""
    words = error.details() or ""
    if error.code() is CANCELLED:
        return words == CANCELLED_BY_SERVER
    return error.code() is EXHAUSTED and TOO_MANY_CALLS in words


WORKAROUND = Workaround(
    name="busy-superlink",
    purpose=Purpose.SAFETY,
    effect="A SuperNode ends when a SuperLink of stock Flower has 1,000 calls at once, from whomever, and "
    "refuses the next; or when it takes no call for 30 s, and gRPC cancels those that wait.",
    cause="it tries again on UNAVAILABLE alone: retry_invoker.py:353",
    programs=frozenset({Program.SUPERNODE}),
    # Both change what the same function returns: one its pauses, the other when it gives up.
    after=("quick-reconnection",),
    sources={
        "flwr.supernode.start_client_internal": {"_make_fleet_connection_retry_invoker": "3353fc789a2d"},
        "flwr.common.retry_invoker": {
            "_make_simple_grpc_retry_invoker": "c42ffb6481f8",
            "RetryInvoker.__init__": "a6b3929ccf2a",
        },
    },
    apply=retry_when_busy,
)
