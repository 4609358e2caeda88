"""A call that asks for work is answered when there is work, or after three seconds, instead of at once.

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

from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround

HOLD_S = 3.0
"""Flower's own pause between two calls: start_client_internal.py:264."""
MAX_HELD = 500
"""Each held call takes one of the server's 1000 threads: grpc.py:112."""

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

    def is_newest(self, key: Hashable, event: threading.Event) -> bool:
        """Whether nobody has come to wait for `key` after the owner of an event."""
        with self._lock:
            return self._events[key][-1] is event

    def wait_until(  # noqa: PLR0913
        self,
        ready: Callable[[], bool],
        key: Hashable,
        *,
        timeout_s: float,
        on_start: Callable[[threading.Event], object] = bool,
        given_up: Callable[[], bool] = lambda: False,
        alone: bool = False,
    ) -> bool:
        """Wait until `ready()`, `given_up()`, or the timeout; both are asked again at each arrival.

        `on_start` gets the event, for others who have a reason to end the wait. With `alone`, whoever comes
        to wait for the same key ends it, too; False is returned then.
        """
        deadline = time.monotonic() + timeout_s
        with self.expecting(key) as event:
            on_start(event)
            if alone:
                self.wake(key)
            while not alone or self.is_newest(key, event):
                left = deadline - time.monotonic()
                if ready() or given_up() or left <= 0:
                    return True
                event.wait(left)
                event.clear()
        return False


def hold_pulls(patch: Patch) -> None:
    """Hold `Fleet.PullMessages` until there is a message for the node."""
    arrivals = Arrivals()
    store_message, pull_messages = SqliteLinkState.store_message_ins, FleetServicer.PullMessages

    @wraps(store_message)
    def store_message_ins(self: Any, message: Any) -> Any:
        stored = store_message(self, message)
        arrivals.wake(message.metadata.dst_node_id)
        return stored

    @wraps(pull_messages)
    def hold_pull_messages(self: Any, request: Any, context: Any) -> Any:
        # A node has one question: whoever asks twice has lost the first connection, or takes up threads.
        is_last = _hold(arrivals, _work_for(self.state_factory, request.node.node_id), context, alone=True)
        # A caller that hung up meanwhile would not get the message, which counts as delivered all the same.
        if is_last and context.is_active():
            return pull_messages(self, request, context)
        return PullMessagesResponse()

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
        _hold(arrivals, (None, lambda: bool(state.get_run_ids_with_pending_messages())), context)
        return list_apps(self, request, context) if context.is_active() else ListAppsToLaunchResponse()

    patch(InMemoryNodeState, "store_message", wake_store_message)
    patch(InMemoryNodeState, "delete_token", wake_delete_token)
    patch(ClientAppIoServicer, "ListAppsToLaunch", hold_list_apps)


def _hold(
    arrivals: Arrivals, work: tuple[Any, Callable[[], bool]], context: Any, *, alone: bool = False
) -> bool:
    """Wait for work; return whether the caller still waits for it."""
    if len(arrivals) >= MAX_HELD:
        return True
    key, ready = work
    return arrivals.wait_until(
        ready,
        key,
        timeout_s=HOLD_S,
        on_start=lambda event: context.add_callback(event.set),
        given_up=lambda: not context.is_active(),
        alone=alone,
    )


def _work_for(states: Any, node_id: int) -> tuple[int, Callable[[], bool]]:
    """Return the key of a node and a function that says whether there is work for it.

    No connection is held meanwhile: with many nodes the open files would run out.
    """

    def ready() -> bool:
        state = states.state()
        if not isinstance(state, SqliteLinkState):
            return True  # a state in memory is not watched: the call is not held
        return bool(state.query(HAS_WORK, (uint64_to_int64(node_id),)))

    return node_id, ready


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
