"""A SuperNode that lost its SuperLink looks for it every second or two, not less and less often."""

from functools import partial, wraps
from typing import Any

import grpc
from flwr.common import grpc as flower_grpc
from flwr.common.retry_invoker import exponential
from flwr.supernode import start_client_internal

from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Workaround

LONGEST_S = 2
"""Longest pause between two attempts; each is drawn between 0 and this, so that nodes do not come in step."""
BACK_OFF = (
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.max_reconnect_backoff_ms", 1000 * LONGEST_S),
    ("grpc.min_reconnect_backoff_ms", 5000),
)
"""gRPC refuses calls at once until its own pause is over; the last is how long it waits for an answer."""


class Channels:
    """The module ``grpc``, whose channels connect again sooner."""

    def __getattr__(self, name: str) -> Any:
        """Return whatever else the module has."""
        return getattr(grpc, name)

    def insecure_channel(self, target: str, *, options: Any = ()) -> Any:
        """Return a channel without TLS."""
        return grpc.insecure_channel(target, options=[*options, *BACK_OFF])

    def secure_channel(self, target: str, credentials: Any, *, options: Any = ()) -> Any:
        """Return a channel with TLS."""
        return grpc.secure_channel(target, credentials, options=[*options, *BACK_OFF])


def apply(patch: Patch) -> None:
    """Cap both pauses; a SuperNode whose tries are counted (FL_MAX_RETRIES) keeps Flower's."""
    make = start_client_internal._make_fleet_connection_retry_invoker  # noqa: SLF001 - it is what is mended

    @wraps(make)
    def make_quick(*args: Any, **kwargs: Any) -> Any:
        invoker = make(*args, **kwargs)
        if invoker.max_tries is None:
            invoker.wait_gen_factory = partial(exponential, max_delay=LONGEST_S)
        return invoker

    patch(start_client_internal, "_make_fleet_connection_retry_invoker", make_quick)
    patch(flower_grpc, "grpc", Channels())


WORKAROUND = Workaround(
    name="quick-reconnection",
    # gRPC's pauses grow to two minutes, and Flower's own to 20 s on top of them.
    defect="pauses that grow with the outage: retry_invoker.py:377, grpc.py:64",
    programs=frozenset({Program.SUPERNODE}),
    sources={
        "flwr.supernode.start_client_internal": {"_make_fleet_connection_retry_invoker": "3353fc789a2d"},
        "flwr.common.retry_invoker": {
            "_make_simple_grpc_retry_invoker": "c42ffb6481f8",
            "exponential": "f3b566f7b0b1",
        },
        "flwr.common.grpc": {"create_channel": "6d71819bdc98"},
    },
    apply=apply,
)
