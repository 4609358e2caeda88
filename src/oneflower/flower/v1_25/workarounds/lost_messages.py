"""A message that got lost on its way to a SuperNode, or whose reply did, is not waited for in vain.

A SuperNode handles one message at a time: it asks for the next when it has answered the last. Who asks and
has not answered lost the message, so it is delivered again while its objects are there; where they are not,
the reply was lost, and an error reply ends the wait.
"""

from collections import Counter
from functools import wraps
from logging import WARNING
from typing import Any

from flwr.common import Error, Message, log
from flwr.common.constant import ErrorCode
from flwr.common.date import now
from flwr.common.inflatable import get_all_nested_objects, get_object_tree, no_object_id_recompute
from flwr.server.superlink.linkstate import SqliteLinkState
from flwr.server.superlink.linkstate.sqlite_linkstate import dict_to_message
from flwr.server.superlink.linkstate.utils import convert_sint64_values_in_dict_to_uint64
from flwr.supercore.utils import uint64_to_int64
from flwr.supernode import start_client_internal

from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Workaround

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
REPLY_LOST = "The SuperNode asked for its next message and had not answered this one."


def apply_recall(patch: Patch) -> None:
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


def apply_dropped(patch: Patch) -> None:
    """Let a SuperNode that dropped a message ask for the next, and forget one that it ignores."""
    pull = start_client_internal._pull_and_store_message  # noqa: SLF001 - it is what is mended

    @wraps(pull)
    def pull_and_store_message(*, state: Any, object_store: Any, **kwargs: Any) -> int | None:
        run_id: int | None = pull(state=state, object_store=object_store, **kwargs)
        with state.lock_msg_store:
            left = list(state.msg_store)
        if run_id is not None:
            return run_id if left else None
        # It handles one message at a time: what is there now came while its run ended.
        state.delete_messages(message_ids=left)
        for message_id in left:
            object_store.delete(message_id)
        return None

    patch(start_client_internal, "_pull_and_store_message", pull_and_store_message)


def _key(node_id: int) -> tuple[int]:
    return (uint64_to_int64(node_id),)


def _recall(state: Any, row: dict[str, Any], deliveries: Counter[str]) -> None:
    """Make a lost message deliverable again, or answer for it."""
    message_id = row["message_id"]
    deliveries[message_id] += 1
    convert_sint64_values_in_dict_to_uint64(row, ["run_id", "src_node_id", "dst_node_id"])
    node_id = row["dst_node_id"]
    if message_id in state.object_store and deliveries[message_id] < MAX_DELIVERIES:
        log(WARNING, "message lost and delivered again message=%s node=%d", message_id, node_id)
        state.query("UPDATE message_ins SET delivered_at = '' WHERE message_id = ?", (message_id,))
        return
    log(WARNING, "reply lost message=%s node=%d", message_id, node_id)
    deliveries.pop(message_id)
    _answer(state, dict_to_message(row))


def _answer(state: Any, message: Any) -> None:
    """Store an error reply in the node's name, with its object, as Flower does for a crashed ClientApp."""
    reply = Message(Error(ErrorCode.REPLY_MESSAGE_UNAVAILABLE, REPLY_LOST), reply_to=message)
    with no_object_id_recompute():
        reply.metadata.__dict__["_message_id"] = reply.object_id
        state.object_store.preregister(message.metadata.run_id, get_object_tree(reply))
        for object_id, content in get_all_nested_objects(reply).items():
            state.object_store.put(object_id, content.deflate())
    state.store_message_res(reply)


def _drop_half_sent(state: Any, reply_ids: list[str]) -> None:
    """Forget replies whose sender has turned to something else before all their objects were here."""
    for reply_id in reply_ids:
        if state.query(MISSING_OBJECT, (reply_id,)):
            log(WARNING, "reply dropped, its objects were never sent reply=%s", reply_id)
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
    # Delivery is at most once, and a reply counts as there before its objects are: a connection that breaks,
    # or a node killed while it sends, is waited for until the timeout, or for 7200 s in grpc_grid.py:233.
    defect="a delivered message is never sent again: sqlite_linkstate.py:366; "
    "a reply without its objects is handed on: sqlite_linkstate.py:525",
    programs=frozenset({Program.SUPERLINK}),
    sources={
        "flwr.server.superlink.linkstate.sqlite_linkstate": {
            "SqliteLinkState.get_message_ins": "212b1779698a",
            "SqliteLinkState.get_message_res": "d9be83e01c47",
            "SqliteLinkState.store_message_res": "037d6311ba82",
        },
        "flwr.server.superlink.serverappio.serverappio_servicer": {
            "ServerAppIoServicer.PullMessages": "f76350f4a883",
        },
        "flwr.supernode.start_client_internal": {
            "start_client_internal": "50313decfb88",
        },
    },
    apply=apply_recall,
)

DROPPED = Workaround(
    name="dropped-message",
    # _pull_and_store_message deletes a message that it could not receive and returns its run all the same;
    # _push_messages then waits for a reply that nobody will write, online to the eyes of the SuperLink. One
    # whose run ends meanwhile stays: its ClientApp waits for its objects for ever, and nothing else is run.
    defect="a SuperNode that dropped a message waits for its reply for ever: start_client_internal.py:426; "
    "one whose run ended while it came blocks all others: start_client_internal.py:413",
    programs=frozenset({Program.SUPERNODE}),
    sources={
        "flwr.supernode.start_client_internal": {
            "_pull_and_store_message": "668a64d9108b",
            "_push_messages": "2435b7116f7d",
        },
    },
    apply=apply_dropped,
)
