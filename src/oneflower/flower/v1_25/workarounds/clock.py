"""A wall clock that is set forward or back, even by a day, ends no lease and prolongs none.

Flower counts leases of nodes, tokens of apps and lifetimes of messages in the wall clock. Set back by a day,
it keeps a node that has died `online` for a day, and a round waits for it until its timeout; and a SuperLink
refuses every call of nodes whose own clocks are right. Here time goes on from the start of the process.
"""

import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, Final

from flwr.common import date
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.server.superlink.fleet.grpc_rere import node_auth_server_interceptor as server_auth

from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround

# A SuperNode signs its calls with the wall clock, which all of a machine's processes share, also later ones.
_SIGNS: Final = "flwr.client.grpc_rere_client.node_auth_client_interceptor"


def steady(
    wall: Callable[[], datetime], clock: Callable[[], float] = time.monotonic
) -> Callable[[], datetime]:
    """Return a `now` that starts at the wall clock's time and continues by a clock that nobody sets."""
    began, at = wall(), clock()
    return lambda: began + timedelta(seconds=clock() - at)


def apply(patch: Patch) -> None:
    """Put the steady clock in place of Flower's `now` wherever it was imported, as in our own workarounds."""
    wall = date.now
    now = steady(wall)
    for name, module in list(sys.modules.items()):
        of_flower = name.startswith(("flwr.", "oneflower.")) and name != _SIGNS
        if of_flower and vars(module).get("now") is wall:
            patch(module, "now", now)
    _accept_both(patch, wall, now)


def _accept_both(patch: Patch, wall: Callable[[], datetime], now: Callable[[], datetime]) -> None:
    """Judge the age of a signature by the nearer of the two clocks: a node's is right by one of them."""
    intercept, call = server_auth.NodeAuthServerInterceptor.intercept_service, threading.local()

    @wraps(intercept)
    def intercept_service(self: Any, continuation: Any, handler_call_details: Any) -> Any:
        headers = dict(handler_call_details.invocation_metadata or ())
        call.signed = headers.get(TIMESTAMP_HEADER, "")
        return intercept(self, continuation, handler_call_details)

    def nearer() -> datetime:
        try:
            signed = datetime.fromisoformat(call.signed)
            return min(now(), wall(), key=lambda each: abs(each - signed))
        except (TypeError, ValueError, AttributeError):
            return now()

    patch(server_auth.NodeAuthServerInterceptor, "intercept_service", intercept_service)
    patch(server_auth, "now", nearer)


WORKAROUND = Workaround(
    name="steady-clock",
    purpose=Purpose.SAFETY,
    effect="Leases and tokens are counted in the wall clock. Set back by a day, it keeps dead nodes "
    "`online` for a day and refuses every call of nodes whose clocks are right; set forward by a day, it "
    "ends the run. With it time goes on from the start of the process; a signature is judged by the nearer "
    "of both clocks.",
    cause="`now` is the wall clock: sqlite_linkstate.py:1128, in_memory_corestate.py:115",
    programs=frozenset({Program.SUPERLINK, Program.SUPERNODE}),
    sources={
        "flwr.common.date": {"now": "3bbbf9bb2c01"},
        "flwr.common.constant": {"TIMESTAMP_HEADER": "cae093b6937b"},
        "flwr.server.superlink.fleet.grpc_rere.node_auth_server_interceptor": {
            "now": "27ab023f996d",
            "NodeAuthServerInterceptor.intercept_service": "8de7e5c59628",
        },
        "flwr.client.grpc_rere_client.node_auth_client_interceptor": {"now": "ee9505ca3b5a"},
    },
    apply=apply,
)
