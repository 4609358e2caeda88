"""A SuperLink with `--enable-supernode-auth` keeps exactly the keys registered that may join.

Flower registers keys through its Control API, one call a key, and keeps them in its database. Here the
SuperLink itself does it: with the first call, whenever the list of keys changes, and when a key asks that it
does not know. So the list is the only truth, with or without the database of before.
A key that an operator registers with `flwr supernode register` is left alone.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import grpc
from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL, NOOP_FLWR_AID, PUBLIC_KEY_HEADER
from flwr.proto.fleet_pb2 import ActivateNodeRequest, RegisterNodeFleetRequest
from flwr.server.superlink.fleet.grpc_rere.node_auth_server_interceptor import NodeAuthServerInterceptor
from flwr.server.superlink.linkstate.sqlite_linkstate import SqliteLinkState
from flwr.supercore.constant import NodeStatus
from flwr.supercore.utils import int64_to_uint64

from oneflower.flower.join_refusals import Refusals, unknown_key
from oneflower.flower.members import Members
from oneflower.flower.private import PrivateUse
from oneflower.flower.v1_25.node_calls import NodeCall, stand_before
from oneflower.flower.v1_25.refusals import ending
from oneflower.flower.v1_25.workarounds.registry import Patch
from oneflower.node_keys import fingerprint_of

log = logging.getLogger(__name__)

OWNER = "oneflower member"
"""The account name of the keys that are registered here, in place of Flower's."""
STRANGER = (
    "SuperNode authentication is enabled: this SuperLink takes only SuperNodes whose public key it knows. "
    "Publish the key through OneGate, as an appliance does, or add it to FL_NODE_KEYS of the SuperLink, "
    "and start the SuperNode with --auth-supernode-private-key. FL_NODE_AUTH=NO lets everybody join"
)
UNKNOWN: Final = grpc.StatusCode["FAILED_PRECONDITION"]
READ_EVERY_S: Final = 0.5
REVIVE = "UPDATE node SET status = ?, unregistered_at = NULL WHERE public_key = ? AND status = ?"
OTHERS = "SELECT public_key FROM node WHERE owner_name != ? AND status != ?"
OURS = "SELECT node_id, public_key FROM node WHERE owner_name = ? AND status != ?"


class Registration:
    """Brings the database into step with the list of keys."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._lock = threading.Lock()
        self._done: int | None = None

    def keep(self, states: Any) -> None:
        """Register the keys that are new, and unregister those that are gone, if the list has changed.

        Only then is the database opened: strangers come here, too.
        """
        self._members.look()
        if self._done == self._members.version:
            return
        with self._lock:
            if self._done == self._members.version:
                return
            state = states.state()
            version = self._members.version
            for pem, member in self._members.current.items():
                if state.get_node_id_by_public_key(pem) is None:
                    _register(state, pem)
                    log.info("supernode key registered key=%s of=%s", member.key.fingerprint, member.name)
            _unregister_others(state, self._members)
            self._done = version

    def knows(self, states: Any, pem: bytes) -> bool:
        """Whether a key may join."""
        self.keep(states)
        state = states.state()
        if state.get_node_id_by_public_key(pem) is not None:
            return True
        is_member = pem in self._members.current
        if is_member:  # its row was lost with the database
            _register(state, pem)
        return is_member


class Callers:
    """Says from the headers of a call alone whether it is heard.

    The list of keys costs next to nothing. Keys that an operator has registered are in the database, which
    is read now and then: the thread that accepts calls does it.
    """

    def __init__(self, members: Members, clock: Callable[[], float] = time.monotonic) -> None:
        self._members = members
        self._clock = clock
        self._others: frozenset[bytes] = frozenset()
        self._next = 0.0

    def knows(self, states: Any, pem: bytes) -> bool:
        """Whether a key is known."""
        if pem in self._members.current or pem in self._others:
            return True
        self._members.look()
        if self._clock() >= self._next:
            self._others = _registered_by_others(states.state())
            self._next = self._clock() + READ_EVERY_S
        return pem in self._members.current or pem in self._others


def admit_members(members: Members, refusals: Refusals, patch: Patch = setattr) -> None:
    """Let the keys of `members` join, and refuse all others with a reason."""
    registration, callers = Registration(members), Callers(members)
    intercept = NodeAuthServerInterceptor.intercept_service

    def answer(call: NodeCall, request: Any, context: Any) -> Any:
        refusals.tick()
        is_stranger = isinstance(request, RegisterNodeFleetRequest) or (
            isinstance(request, ActivateNodeRequest) and not registration.knows(call.states, call.key)
        )
        if is_stranger:
            _refuse(refusals, call.key, context)
        registration.keep(call.states)
        return call.answer(request, context)

    @wraps(intercept)
    def intercept_service(self: Any, continuation: Any, details: Any) -> Any:
        # Before the signature is verified, and before a thread waits for the request.
        key = dict(details.invocation_metadata).get(PUBLIC_KEY_HEADER)
        if not isinstance(key, bytes):
            return intercept(self, continuation, details)
        if callers.knows(self.state_factory, key):
            return intercept(self, continuation, details)

        def refuse(context: Any) -> None:
            registration.keep(self.state_factory)
            _refuse(refusals, key, context)

        return ending(refuse)

    stand_before(patch, answer)
    patch(NodeAuthServerInterceptor, "intercept_service", intercept_service)


def _refuse(refusals: Refusals, key: bytes, context: Any) -> None:
    refusals.refuse(unknown_key(key, context.peer()))
    refusals.tick()
    context.abort(UNKNOWN, STRANGER)


def _register(state: Any, pem: bytes) -> None:
    try:
        state.create_node(
            owner_aid=NOOP_FLWR_AID,
            owner_name=OWNER,
            public_key=pem,
            heartbeat_interval=HEARTBEAT_DEFAULT_INTERVAL,
        )
    except ValueError:
        # It was unregistered before, and Flower never takes such a key again.
        if isinstance(state, SqliteLinkState):
            state.query(REVIVE, (NodeStatus.REGISTERED, pem, NodeStatus.UNREGISTERED))


def _registered_by_others(state: Any) -> frozenset[bytes]:
    if isinstance(state, SqliteLinkState):
        return frozenset(row["public_key"] for row in state.query(OTHERS, (OWNER, NodeStatus.UNREGISTERED)))
    known = [NodeStatus.REGISTERED, NodeStatus.ONLINE, NodeStatus.OFFLINE]
    return frozenset(node.public_key for node in state.get_node_info(statuses=known))


def _unregister_others(state: Any, members: Members) -> None:
    if not isinstance(state, SqliteLinkState):
        return
    for row in state.query(OURS, (OWNER, NodeStatus.UNREGISTERED)):
        if row["public_key"] not in members.current:
            log.info("supernode key unregistered key=%s", fingerprint_of(row["public_key"]))
            state.delete_node(NOOP_FLWR_AID, int64_to_uint64(row["node_id"]))


USE = PrivateUse(
    name="membership",
    why="Register the keys of SuperNodes in the SuperLink itself, and refuse others with a reason. "
    "Flower's own way is a call of the Control API for each key, which must be repeated where the "
    "database is lost.",
    sources={
        "flwr.server.superlink.fleet.grpc_rere.fleet_servicer": {
            "FleetServicer.RegisterNode": "2131f00313fc"
        },
        "flwr.server.superlink.fleet.grpc_rere.node_auth_server_interceptor": {
            "NodeAuthServerInterceptor.intercept_service": "8de7e5c59628",
            "NodeAuthServerInterceptor._wrap_method_handler": "e9f69f62f2b4",
            "NodeAuthServerInterceptor.__init__": "206dcca1afaa",
        },
        "flwr.server.superlink.linkstate.sqlite_linkstate": {
            "SqliteLinkState.create_node": "c2e95e7d88b9",
            "SqliteLinkState.delete_node": "3f16ed21922e",
            "SqliteLinkState.get_node_id_by_public_key": "05c1833dcb39",
            "SQL_CREATE_TABLE_NODE": "68fa9cea4c44",
        },
        "flwr.server.superlink.linkstate.in_memory_linkstate": {
            "InMemoryLinkState.get_node_info": "5738387b4d6d",
        },
        "flwr.server.superlink.linkstate.linkstate_factory": {"LinkStateFactory.state": "a685e27c974c"},
        "flwr.supercore.sqlite_mixin": {"SqliteMixin.query": "808d35b32d46"},
        "flwr.supercore.utils": {"int64_to_uint64": "942d251dd5cb"},
        "flwr.supercore.constant": {"NodeStatus": "579b918c601f"},
        "flwr.common.constant": {
            "HEARTBEAT_DEFAULT_INTERVAL": "624b60c58c9d",
            "NOOP_FLWR_AID": "bf132a655b96",
            "PUBLIC_KEY_HEADER": "bf9a1fbe7c9e",
        },
        "flwr.proto.fleet_pb2": {
            "ActivateNodeRequest": "fed818821f32",
            "RegisterNodeFleetRequest": "0c3ee2a09fef",
        },
    },
)
