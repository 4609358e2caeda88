"""A call that asks for work is answered when there is work, or after some seconds, instead of at once.

Polling is quick or cheap, never both. With the call held at the server a message is delivered within
milliseconds, and an idle SuperNode asks no more often than Flower's own does. A stock SuperNode works with
our SuperLink as before, and ours with a stock SuperLink.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from flwr.proto.appio_pb2 import ListAppsToLaunchResponse
from flwr.proto.fleet_pb2 import PullMessagesResponse
from flwr.server.superlink.fleet.grpc_rere.fleet_servicer import FleetServicer
from flwr.server.superlink.linkstate.sqlite_linkstate import SqliteLinkState
from flwr.supercore.utils import uint64_to_int64
from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState
from flwr.supernode.servicer.clientappio.clientappio_servicer import ClientAppIoServicer

from oneflower.flower.v1_25.questions import QUESTIONS, HeldError
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround

HOLD_S = 3.0
"""Flower's own pause between two calls: start_client_internal.py:264."""
HAS_WORK = """
SELECT 1 FROM message_ins JOIN run USING (run_id)
WHERE dst_node_id = ? AND finished_at = ''
  AND NOT EXISTS (SELECT 1 FROM message_res WHERE reply_to_message_id = message_ins.message_id)
LIMIT 1
"""


class Arrivals:
    """Events by key: `wake` lets everyone who waits for that key look again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: defaultdict[Hashable, list[threading.Event]] = defaultdict(list)

    def __len__(self) -> int:
        """Return how many are waiting."""
        with self._lock:
            return sum(map(len, self._events.values()))

    def wake(self, key: Hashable) -> None:
        """Let everyone who waits for `key` look again."""
        with self._lock:
            for event in self._events.get(key, ()):
                event.set()

    @contextmanager
    def expecting(self, key: Hashable) -> Iterator[threading.Event]:
        """Give an event that is set at each arrival for `key` from now on."""
        event = threading.Event()
        with self._lock:
            self._events[key].append(event)
        try:
            yield event
        finally:
            with self._lock:
                self._events[key].remove(event)
                if not self._events[key]:
                    del self._events[key]

    def wait_until(self, ready: Callable[[], bool], key: Hashable, *, timeout_s: float, context: Any) -> None:
        """Wait until `ready()`, which is asked again at each arrival, the caller's end, or the timeout."""
        deadline = time.monotonic() + timeout_s
        with self.expecting(key) as event:
            context.add_callback(event.set)
            while (left := deadline - time.monotonic()) > 0 and context.is_active() and not ready():
                event.wait(left)
                event.clear()


def hold_pulls(patch: Patch) -> None:
    """Hold `Fleet.PullMessages` until there is a message for the node."""
    store_message, pull_messages = SqliteLinkState.store_message_ins, FleetServicer.PullMessages

    @wraps(store_message)
    def store_message_ins(self: Any, message: Any) -> Any:
        stored = store_message(self, message)
        QUESTIONS.wake(message.metadata.dst_node_id)
        return stored

    @wraps(pull_messages)
    def hold_pull_messages(self: Any, request: Any, context: Any) -> Any:
        node_id = request.node.node_id
        if QUESTIONS.may_wait() and not _has_work(self.state_factory.state(), node_id):
            raise HeldError(node_id)
        # A caller that hung up meanwhile would not get the message, which counts as delivered all the same.
        return pull_messages(self, request, context) if context.is_active() else PullMessagesResponse()

    patch(SqliteLinkState, "store_message_ins", store_message_ins)
    patch(FleetServicer, "PullMessages", hold_pull_messages)


def hold_launches(patch: Patch) -> None:
    """Hold `ClientAppIo.ListAppsToLaunch` until there is a message to run."""
    arrivals = Arrivals()
    store_message, delete_token = InMemoryNodeState.store_message, InMemoryNodeState.delete_token
    list_apps = ClientAppIoServicer.ListAppsToLaunch

    @wraps(store_message)
    def wake_store_message(self: Any, message: Any) -> Any:
        stored = store_message(self, message)
        arrivals.wake(None)
        return stored

    @wraps(delete_token)
    def wake_delete_token(self: Any, run_id: int) -> None:
        delete_token(self, run_id)
        arrivals.wake(None)

    @wraps(list_apps)
    def hold_list_apps(self: Any, request: Any, context: Any) -> Any:
        state = self.state_factory.state()
        arrivals.wait_until(
            lambda: bool(state.get_run_ids_with_pending_messages()), None, timeout_s=HOLD_S, context=context
        )
        return list_apps(self, request, context) if context.is_active() else ListAppsToLaunchResponse()

    patch(InMemoryNodeState, "store_message", wake_store_message)
    patch(InMemoryNodeState, "delete_token", wake_delete_token)
    patch(ClientAppIoServicer, "ListAppsToLaunch", hold_list_apps)


def _has_work(state: Any, node_id: int) -> bool:
    # A state in memory is not watched: the question is answered at once.
    return not isinstance(state, SqliteLinkState) or bool(state.query(HAS_WORK, (uint64_to_int64(node_id),)))


SUPERLINK = Workaround(
    name="held-pulls",
    purpose=Purpose.SPEED,
    effect="A message waits 0 to 3 s until its SuperNode asks again.",
    cause="a call without work is answered at once, and repeated after a pause: start_client_internal.py:264",
    programs=frozenset({Program.SUPERLINK}),
    sources={
        "flwr.server.superlink.fleet.grpc_rere.fleet_servicer": {
            "FleetServicer.__init__": "f051ea2f295e",
            "FleetServicer.PullMessages": "9a4dde1305ca",
        },
        "flwr.server.superlink.linkstate.linkstate_factory": {"LinkStateFactory.state": "a685e27c974c"},
        "flwr.server.superlink.linkstate.sqlite_linkstate": {
            "SqliteLinkState.store_message_ins": "d9ae0a132e01",
            "SQL_CREATE_TABLE_MESSAGE_INS": "076e067c500f",
            "SQL_CREATE_TABLE_MESSAGE_RES": "315ccfab44d0",
            "SQL_CREATE_TABLE_RUN": "dec11df2ef17",
        },
        "flwr.supercore.sqlite_mixin": {"SqliteMixin.query": "808d35b32d46"},
        "flwr.supercore.utils": {"uint64_to_int64": "25954f49d88d"},
        "flwr.proto.fleet_pb2": {
            "PullMessagesRequest": "818523c80c28",
            "PullMessagesResponse": "fa1801a96f72",
        },
    },
    apply=hold_pulls,
)

SUPERNODE = Workaround(
    name="held-launches",
    purpose=Purpose.SPEED,
    effect="A message waits 0 to 1 s until the SuperNode's executor asks again.",
    cause="a call without work is answered at once, and repeated after a pause: run_superexec.py:150",
    programs=frozenset({Program.SUPERNODE}),
    sources={
        "flwr.supernode.servicer.clientappio.clientappio_servicer": {
            "ClientAppIoServicer.__init__": "33887ac7e29b",
            "ClientAppIoServicer.ListAppsToLaunch": "7b4f6ff59df3",
        },
        "flwr.supernode.nodestate.nodestate_factory": {"NodeStateFactory.state": "b1cb8f79bedd"},
        "flwr.supernode.nodestate.in_memory_nodestate": {
            "InMemoryNodeState.store_message": "b584f0da5c4d",
            "InMemoryNodeState.get_run_ids_with_pending_messages": "0310387a69bf",
        },
        "flwr.supercore.corestate.in_memory_corestate": {
            "InMemoryCoreState.delete_token": "04e7f7a649c0",
        },
        "flwr.proto.appio_pb2": {"ListAppsToLaunchResponse": "02d4e8cd1268"},
    },
    apply=hold_launches,
)
