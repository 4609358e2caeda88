"""A node that has only joined costs nothing: no long lease, and no work for the SuperLink."""

import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import grpc
from flwr.server.superlink.fleet.grpc_rere.fleet_servicer import FleetServicer
from flwr.server.superlink.fleet.grpc_rere.node_auth_server_interceptor import NodeAuthServerInterceptor
from flwr.server.superlink.linkstate.sqlite_linkstate import SqliteLinkState

from oneflower.flower.v1_25.refusals import Refusals, refusing
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround

LONGEST_INTERVAL_S: Final = 30.0
"""What Flower's own SuperNode asks for: constant.py:69. It counts as online for twice as long."""
REGISTRATIONS_A_SECOND: Final = 20.0
REGISTRATIONS_AT_ONCE: Final = 1_000
MOST_NODES: Final = 10_000
COUNTED_EVERY_S: Final = 5.0

BUSY: Final = grpc.StatusCode["UNAVAILABLE"]
"""A SuperNode that is answered so tries again, at most 20 s later: retry_invoker.py:353."""
COUNTED: Final = ("registered", "online")
COUNT: Final = "SELECT status, count(*) AS number FROM node GROUP BY status"
FORGET: Final = """
DELETE FROM node WHERE rowid IN (
  SELECT rowid FROM node WHERE status != 'online' AND node_id NOT IN (SELECT dst_node_id FROM message_ins)
  ORDER BY status != 'unregistered', registered_at LIMIT ?
)
"""


class Bucket:
    """Lets so many pass a second, and so many at once after a pause."""

    def __init__(self, rate: float, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._most = float(most)
        self._clock = clock
        self._left = float(most)
        self._filled = clock()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Whether another one may pass."""
        with self._lock:
            now = self._clock()
            self._left = min(self._most, self._left + (now - self._filled) * self._rate)
            self._filled = now
            if self._left < 1.0:
                return False
            self._left -= 1.0
            return True


class Registered:
    """How many nodes are registered, counted now and then; nodes of long ago are forgotten."""

    def __init__(self, most: int = MOST_NODES, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._next = 0.0
        self._number = 0
        self._lock = threading.Lock()

    def admit(self, state: Any) -> bool:
        """Whether another node may register."""
        with self._lock:
            if self._clock() >= self._next:
                self._number = self._count(state)
                self._next = self._clock() + COUNTED_EVERY_S
            self._number += 1
            return self._number <= self._most

    def _count(self, state: Any) -> int:
        if not isinstance(state, SqliteLinkState):
            return len(state.get_node_info(statuses=list(COUNTED)))
        by_status = _by_status(state)
        if sum(by_status.values()) >= self._most:
            state.query(FORGET, (self._most // 2,))
            by_status = _by_status(state)
        return sum(by_status.get(status, 0) for status in COUNTED)


def _by_status(state: Any) -> dict[str, int]:
    return {row["status"]: row["number"] for row in state.query(COUNT)}


def bound_nodes(patch: Patch) -> None:
    """Cap heartbeat intervals, and bound how many nodes register, and how quickly."""
    refusals, registered = Refusals(), Registered()
    bucket = Bucket(REGISTRATIONS_A_SECOND, REGISTRATIONS_AT_ONCE)
    register, intercept = FleetServicer.RegisterNode, NodeAuthServerInterceptor.intercept_service

    @wraps(intercept)
    def intercept_service(self: Any, continuation: Any, details: Any) -> Any:
        # Before the signature is verified, which takes 0.5 ms of the one thread that accepts calls.
        if details.method.endswith("/RegisterNode") and not bucket.take():
            text = f"more than {REGISTRATIONS_A_SECOND:.0f} SuperNodes a second register; try again"
            return refusing(BUSY, text, refusals, "RegisterNode")
        return intercept(self, continuation, details)

    @wraps(register)
    def register_node(self: Any, request: Any, context: Any) -> Any:
        if not self.enable_supernode_auth and not registered.admit(self.state_factory.state()):
            text = f"{MOST_NODES} SuperNodes are registered, which is the limit; try again"
            refusals.refuse(context, BUSY, "RegisterNode", 0, text)
        return register(self, request, context)

    patch(NodeAuthServerInterceptor, "intercept_service", intercept_service)
    patch(FleetServicer, "RegisterNode", register_node)
    for name in ("ActivateNode", "SendNodeHeartbeat"):
        patch(FleetServicer, name, _capped(getattr(FleetServicer, name)))


def _capped(original: Any) -> Any:
    @wraps(original)
    def capped(self: Any, request: Any, context: Any) -> Any:
        request.heartbeat_interval = min(request.heartbeat_interval, LONGEST_INTERVAL_S)
        return original(self, request, context)

    return capped


WORKAROUND = Workaround(
    name="node-limits",
    purpose=Purpose.SAFETY,
    effect="A node that registers, names a heartbeat of 30 minutes and goes away is online for an hour: "
    "150 of them, made in 8 s, hold each round for a minute. Anyone can fill the table of nodes.",
    cause="the interval is up to the node, up to 1800 s: constant.py:74; registrations are not bounded: "
    "fleet_servicer.py:84",
    programs=frozenset({Program.SUPERLINK}),
    # The number of registrations is looked at before anything else of a call.
    after=("cheap-refusals", "steady-clock"),
    sources={
        "flwr.server.superlink.fleet.grpc_rere.node_auth_server_interceptor": {
            "NodeAuthServerInterceptor.intercept_service": "8de7e5c59628",
        },
        "flwr.server.superlink.fleet.grpc_rere.fleet_servicer": {
            "FleetServicer.__init__": "f051ea2f295e",
            "FleetServicer.RegisterNode": "2131f00313fc",
            "FleetServicer.ActivateNode": "f6b4a3b14d54",
            "FleetServicer.SendNodeHeartbeat": "620b0aebfb25",
        },
        "flwr.server.superlink.linkstate.sqlite_linkstate": {
            "SQL_CREATE_TABLE_NODE": "68fa9cea4c44",
            "SQL_CREATE_TABLE_MESSAGE_INS": "076e067c500f",
            "SqliteLinkState.get_node_info": "b52766b57a6b",
        },
        "flwr.server.superlink.linkstate.in_memory_linkstate": {
            "InMemoryLinkState.get_node_info": "5738387b4d6d",
        },
        "flwr.server.superlink.linkstate.linkstate_factory": {"LinkStateFactory.state": "a685e27c974c"},
        "flwr.supercore.sqlite_mixin": {"SqliteMixin.query": "808d35b32d46"},
        "flwr.supercore.constant": {"NodeStatus": "579b918c601f"},
        "flwr.proto.fleet_pb2": {"ActivateNodeRequest": "fed818821f32"},
        "flwr.proto.heartbeat_pb2": {"SendNodeHeartbeatRequest": "dfd96c8f7162"},
        "flwr.common.retry_invoker": {"_make_simple_grpc_retry_invoker": "c42ffb6481f8"},
    },
    apply=bound_nodes,
)
