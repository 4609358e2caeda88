"""The messages and replies that a SuperLink has stored, in its database or in memory."""

from typing import Any

from flwr.common import Error, Message
from flwr.common.inflatable import get_all_nested_objects, get_object_tree, no_object_id_recompute
from flwr.server.superlink.linkstate.sqlite_linkstate import SqliteLinkState, dict_to_message
from flwr.server.superlink.linkstate.utils import convert_sint64_values_in_dict_to_uint64

from oneflower.flower.private import PrivateUse
from oneflower.flower.v1_25.fleet_limits import is_object_id
from oneflower.flower.v1_25.port import set_message_id

ANSWERED = "SELECT 1 FROM message_res WHERE reply_to_message_id = ? LIMIT 1"
DELETE_REPLY = "DELETE FROM message_res WHERE message_id = ?"


def stored_message(state: Any, message_id: str) -> Any:
    """Return a message of the ServerApp's that has not expired; None without."""
    if not is_object_id(message_id):
        return None
    if isinstance(state, SqliteLinkState):
        row = state.get_valid_message_ins(message_id)
        if row is None:
            return None
        convert_sint64_values_in_dict_to_uint64(row, ["run_id", "src_node_id", "dst_node_id"])
        return dict_to_message(row)
    with state.lock:
        state._check_stored_messages({message_id})  # noqa: SLF001 - it deletes what has expired
        return state.message_ins_store.get(message_id)


def is_answered(state: Any, message_id: str) -> bool:
    """Whether there is a reply to a message."""
    if isinstance(state, SqliteLinkState):
        return bool(state.query(ANSWERED, (message_id,)))
    return message_id in state.message_ins_id_to_message_res_id


def answer(state: Any, message: Any, error: Error) -> str:
    """Store an error reply in the node's name, with its object, as Flower does for a crashed ClientApp.

    Returns the id of the reply.
    """
    reply = Message(error, reply_to=message)
    with no_object_id_recompute():
        set_message_id(reply, reply.object_id)
        state.object_store.preregister(message.metadata.run_id, get_object_tree(reply))
        for object_id, content in get_all_nested_objects(reply).items():
            state.object_store.put(object_id, content.deflate())
    state.store_message_res(reply)
    return str(reply.metadata.message_id)


def delete_reply(state: Any, message_id: str, reply_id: str) -> None:
    """Delete the reply to a message; the message stays."""
    if isinstance(state, SqliteLinkState):
        state.query(DELETE_REPLY, (reply_id,))
        return
    with state.lock:
        if state.message_res_store.pop(reply_id, None) is not None:
            state.message_ins_id_to_message_res_id.pop(message_id, None)


USE = PrivateUse(
    name="stored messages",
    why="The limits at the Fleet API compare each reply with the message that it answers.",
    sources={
        "flwr.server.superlink.linkstate.sqlite_linkstate": {
            "SqliteLinkState.get_valid_message_ins": "57d083b37c63",
            "SqliteLinkState.store_message_res": "037d6311ba82",
            "dict_to_message": "a94880bd2373",
            "SQL_CREATE_TABLE_MESSAGE_RES": "315ccfab44d0",
        },
        "flwr.server.superlink.linkstate.utils": {
            "convert_sint64_values_in_dict_to_uint64": "a4d9bd4e31f1",
        },
        "flwr.server.superlink.linkstate.in_memory_linkstate": {
            "InMemoryLinkState.__init__": "ffbe0cb465a1",
            "InMemoryLinkState._check_stored_messages": "3cf78b9df62f",
            "InMemoryLinkState.store_message_res": "c211b8eda821",
        },
        "flwr.supercore.sqlite_mixin": {
            "SqliteMixin.query": "808d35b32d46",
        },
        "flwr.supercore.corestate.sqlite_corestate": {
            "SqliteCoreState.object_store": "698d39f97a5f",
        },
        "flwr.supercore.object_store.sqlite_object_store": {
            "SqliteObjectStore.preregister": "a9d5168debb8",
            "SqliteObjectStore.put": "fec128ecfc6f",
        },
        "flwr.common.inflatable": {
            "get_all_nested_objects": "409d9822fd87",
            "get_object_tree": "d247ce6d76fd",
            "no_object_id_recompute": "1374cc3f64f1",
        },
    },
)
