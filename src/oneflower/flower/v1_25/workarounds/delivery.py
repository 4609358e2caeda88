"""No round waits for a message or a reply that was lost, or for a SuperNode of before a restart.

A SuperNode handles one message at a time: it asks for the next when it has answered the last. One that asks
without having answered lost the message, so it is delivered again while its objects are there; where they are
not, the reply was lost, and an error reply ends the wait.
"""

import logging
from collections import Counter
from functools import wraps
from typing import Any

from flwr.common import Error
from flwr.common.constant import ErrorCode
from flwr.common.date import now
from flwr.server.superlink.fleet.grpc_rere.fleet_servicer import FleetServicer
from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
from flwr.server.superlink.linkstate.sqlite_linkstate import SqliteLinkState, dict_to_message
from flwr.server.superlink.linkstate.utils import convert_sint64_values_in_dict_to_uint64
from flwr.supercore.utils import uint64_to_int64
from flwr.supernode import start_client_internal

from oneflower.flower.v1_25.stored_messages import answer
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround

log = logging.getLogger(__name__)

MAX_DELIVERIES = 3
UNANSWERED = """
SELECT message_ins.* FROM message_ins JOIN run USING (run_id)
WHERE dst_node_id = ? AND delivered_at != '' AND finished_at = '' AND created_at + ttl > ?
  AND NOT EXISTS (SELECT 1 FROM message_res WHERE reply_to_message_id = message_ins.message_id)
"""
REPLIES_BY_NODE = "SELECT message_id FROM message_res WHERE src_node_id = ? AND delivered_at = ''"
REPLY_TO = """
SELECT message_id, online_until FROM message_res JOIN node ON node_id = src_node_id
WHERE reply_to_message_id = ? AND delivered_at = ''
"""
MISSING_OBJECT = """
WITH RECURSIVE tree(id) AS (
  SELECT ? UNION SELECT child_id FROM object_children JOIN tree ON parent_id = id
)
SELECT 1 FROM tree LEFT JOIN objects ON object_id = id WHERE is_available IS NOT 1 LIMIT 1
"""
DELIVERED = "SELECT 1 FROM message_ins WHERE dst_node_id = ? AND delivered_at != '' LIMIT 1"
REPLY_LOST = "The SuperNode asked for its next message and had not answered this one."


def recall_lost(patch: Patch) -> None:
    """Deliver again what a node lost, and hand on only replies whose objects are all there."""
    deliveries: Counter[str] = Counter()
    get_ins, get_res = SqliteLinkState.get_message_ins, SqliteLinkState.get_message_res

    @wraps(get_ins)
    def get_message_ins(self: Any, node_id: int, limit: int | None) -> Any:
        _drop_half_sent(self, [row["message_id"] for row in self.query(REPLIES_BY_NODE, _key(node_id))])
        for row in self.query(UNANSWERED, (*_key(node_id), now().timestamp())):
            _recall(self, row, deliveries)
        return get_ins(self, node_id, limit)

    @wraps(get_res)
    def get_message_res(self: Any, message_ids: set[str]) -> Any:
        complete = {message_id for message_id in message_ids if not _is_under_way(self, message_id)}
        return get_res(self, complete) if complete else []

    patch(SqliteLinkState, "get_message_ins", get_message_ins)
    patch(SqliteLinkState, "get_message_res", get_message_res)


def forget_dropped(patch: Patch) -> None:
    """Let a SuperNode that dropped a message ask for the next, and forget one that it ignores."""
    pull = start_client_internal._pull_and_store_message  # noqa: SLF001 - it is what is mended

    @wraps(pull)
    def pull_and_store_message(*, state: Any, object_store: Any, **kwargs: Any) -> int | None:
        run_id: int | None = pull(state=state, object_store=object_store, **kwargs)
        with state.lock_msg_store:
            left = list(state.msg_store)
        if run_id is not None:
            return run_id if left else None
        # It handles one message at a time: a message that is there now came while its run ended.
        state.delete_messages(message_ids=left)
        for message_id in left:
            object_store.delete(message_id)
        return None

    patch(start_client_internal, "_pull_and_store_message", pull_and_store_message)


def hide_idle(patch: Patch) -> None:
    """Sample, of the nodes that are online, those that have asked for work since they were activated."""
    asked: set[int] = set()
    pull_messages = FleetServicer.PullMessages
    acknowledge = SqliteLinkState.acknowledge_node_heartbeat

    def forgetting(state: type, name: str) -> None:
        original = getattr(state, name)

        @wraps(original)
        def forget(self: Any, node_id: int, *args: Any) -> Any:
            asked.discard(node_id)
            return original(self, node_id, *args)

        patch(state, name, forget)

    def hiding(state: type) -> None:
        get_nodes = state.get_nodes  # type: ignore[attr-defined]

        @wraps(get_nodes)
        def asking_nodes(self: Any, run_id: int) -> set[int]:
            return {node_id for node_id in get_nodes(self, run_id) if node_id in asked}

        patch(state, "get_nodes", asking_nodes)

    @wraps(pull_messages)
    def note_pull(self: Any, request: Any, context: Any) -> Any:
        asked.add(request.node.node_id)
        return pull_messages(self, request, context)

    @wraps(acknowledge)
    def note_work(self: Any, node_id: int, heartbeat_interval: float) -> Any:
        # After a restart of the SuperLink: a node at work on a message asks for the next when it is done.
        if node_id not in asked and self.query(DELIVERED, _key(node_id)):
            asked.add(node_id)
        return acknowledge(self, node_id, heartbeat_interval)

    for state in (SqliteLinkState, InMemoryLinkState):
        forgetting(state, "activate_node")
        forgetting(state, "deactivate_node")
        hiding(state)
    patch(FleetServicer, "PullMessages", note_pull)
    patch(SqliteLinkState, "acknowledge_node_heartbeat", note_work)


def _key(node_id: int) -> tuple[int]:
    return (uint64_to_int64(node_id),)


def _recall(state: Any, row: dict[str, Any], deliveries: Counter[str]) -> None:
    """Make a lost message deliverable again, or answer for it."""
    message_id = row["message_id"]
    deliveries[message_id] += 1
    convert_sint64_values_in_dict_to_uint64(row, ["run_id", "src_node_id", "dst_node_id"])
    node_id = row["dst_node_id"]
    if message_id in state.object_store and deliveries[message_id] < MAX_DELIVERIES:
        log.warning("message lost and delivered again message=%s node=%d", message_id, node_id)
        state.query("UPDATE message_ins SET delivered_at = '' WHERE message_id = ?", (message_id,))
        return
    log.warning("reply lost message=%s node=%d", message_id, node_id)
    deliveries.pop(message_id)
    answer(state, dict_to_message(row), Error(ErrorCode.REPLY_MESSAGE_UNAVAILABLE, REPLY_LOST))


def _drop_half_sent(state: Any, reply_ids: list[str]) -> None:
    """Forget replies whose sender has turned to something else before all their objects were here."""
    for reply_id in reply_ids:
        if state.query(MISSING_OBJECT, (reply_id,)):
            log.warning("reply dropped, its objects were never sent reply=%s", reply_id)
            state.query("DELETE FROM message_res WHERE message_id = ?", (reply_id,))
            state.object_store.delete(reply_id)


def _is_under_way(state: Any, message_id: str) -> bool:
    """Say whether the reply to a message has come without all its objects, from a node that is alive."""
    for row in state.query(REPLY_TO, (message_id,)):
        if not state.query(MISSING_OBJECT, (row["message_id"],)):
            return False
        if row["online_until"] > now().timestamp():
            return True
        _drop_half_sent(state, [row["message_id"]])
    return False


RECALL = Workaround(
    name="lost-messages",
    purpose=Purpose.SAFETY,
    effect="Delivery is at most once. A connection that breaks at the wrong moment loses a message, and "
    "the round waits for it until its timeout. A reply whose sender died while sending is waited for for "
    "two hours.",
    # A reply counts as there before its objects are: grpc_grid.py:233 then waits for those.
    cause="a delivered message is never sent again: sqlite_linkstate.py:366; a reply without its objects "
    "is handed on: sqlite_linkstate.py:525",
    programs=frozenset({Program.SUPERLINK}),
    sources={
        "flwr.server.superlink.linkstate.sqlite_linkstate": {
            "SqliteLinkState.get_message_ins": "212b1779698a",
            "SqliteLinkState.get_message_res": "d9be83e01c47",
            "SqliteLinkState.store_message_res": "037d6311ba82",
            "dict_to_message": "a94880bd2373",
            "SQL_CREATE_TABLE_MESSAGE_INS": "076e067c500f",
            "SQL_CREATE_TABLE_MESSAGE_RES": "315ccfab44d0",
            "SQL_CREATE_TABLE_NODE": "68fa9cea4c44",
            "SQL_CREATE_TABLE_RUN": "dec11df2ef17",
        },
        "flwr.server.superlink.linkstate.utils": {"convert_sint64_values_in_dict_to_uint64": "a4d9bd4e31f1"},
        "flwr.server.superlink.serverappio.serverappio_servicer": {
            "ServerAppIoServicer.PullMessages": "f76350f4a883",
        },
        "flwr.supernode.start_client_internal": {"start_client_internal": "50313decfb88"},
        "flwr.supercore.object_store.sqlite_object_store": {
            "SqliteObjectStore.preregister": "a9d5168debb8",
            "SqliteObjectStore.put": "fec128ecfc6f",
            "SqliteObjectStore.delete": "e27309f36184",
            "SqliteObjectStore.__contains__": "82b9dc094edc",
            "SQL_CREATE_OBJECTS": "bb06f4d488cf",
            "SQL_CREATE_OBJECT_CHILDREN": "097edb20b7a5",
        },
        "flwr.supercore.corestate.sqlite_corestate": {"SqliteCoreState.object_store": "698d39f97a5f"},
        "flwr.supercore.sqlite_mixin": {"SqliteMixin.query": "808d35b32d46"},
        "flwr.supercore.utils": {"uint64_to_int64": "25954f49d88d"},
        "flwr.common.inflatable": {
            "get_all_nested_objects": "409d9822fd87",
            "get_object_tree": "d247ce6d76fd",
            "no_object_id_recompute": "1374cc3f64f1",
        },
        "flwr.common.date": {"now": "3bbbf9bb2c01"},
        "flwr.common.constant": {"ErrorCode": "4889fc3e5b66"},
    },
    apply=recall_lost,
)

DROPPED = Workaround(
    name="dropped-message",
    purpose=Purpose.SAFETY,
    effect="A SuperNode that could not receive a message waits for ever for the reply to it. One whose run "
    "ends while it receives a message, as after every crash of a SuperLink, runs no other message again.",
    # _pull_and_store_message deletes a message that it could not receive and returns its run all the same;
    # _push_messages then waits for a reply that nobody will write, and the node stays online.
    # A message whose run ends meanwhile stays: its ClientApp waits for its objects for ever.
    cause="the run of a message that was not received is returned: start_client_internal.py:426; the "
    "message of a run that ended stays: start_client_internal.py:413",
    programs=frozenset({Program.SUPERNODE}),
    sources={
        "flwr.supernode.start_client_internal": {
            "_pull_and_store_message": "668a64d9108b",
            "_push_messages": "2435b7116f7d",
        },
        "flwr.supernode.nodestate.in_memory_nodestate": {
            "InMemoryNodeState.__init__": "89b9800b37c0",
            "InMemoryNodeState.delete_messages": "b5305a764184",
        },
        "flwr.supercore.object_store.in_memory_object_store": {"InMemoryObjectStore.delete": "e6ab07f837d6"},
    },
    apply=forget_dropped,
)

STALE = Workaround(
    name="stale-nodes",
    purpose=Purpose.SAFETY,
    effect="A round sends work to nodes that do none: those that registered and were never heard again, and "
    "after a restart of the SuperLink its SuperNodes of before, for up to 60 s. With it a node is sampled "
    "once it has asked for work.",
    cause="`online` is what a node says of itself, in a database that outlives a restart: "
    "sqlite_linkstate.py:759",
    programs=frozenset({Program.SUPERLINK}),
    # A call that is held must be noted before it is held.
    after=("held-pulls",),
    sources={
        "flwr.server.superlink.linkstate.sqlite_linkstate": {
            "SqliteLinkState.get_nodes": "61df2d0d877a",
            "SqliteLinkState.activate_node": "cfe19cd6f3d8",
            "SqliteLinkState.deactivate_node": "2028d45f8bcd",
            "SqliteLinkState.acknowledge_node_heartbeat": "fbc7465fc5fe",
            "SQL_CREATE_TABLE_MESSAGE_INS": "076e067c500f",
        },
        "flwr.server.superlink.linkstate.in_memory_linkstate": {
            "InMemoryLinkState.get_nodes": "045941c72210",
            "InMemoryLinkState.activate_node": "ddd272f4a52b",
            "InMemoryLinkState.deactivate_node": "711446eb21a5",
        },
        "flwr.server.superlink.fleet.grpc_rere.fleet_servicer": {
            "FleetServicer.PullMessages": "9a4dde1305ca",
        },
        "flwr.proto.fleet_pb2": {"PullMessagesRequest": "818523c80c28"},
    },
    apply=hide_idle,
)
