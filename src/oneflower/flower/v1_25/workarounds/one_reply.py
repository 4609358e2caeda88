"""The SuperLink takes one reply to each message, and only what it can hand on.

A reply that makes its look-up fail ends the run: the ServerApp asks for all outstanding replies at once.
"""

import logging
import math
import threading
from collections.abc import Iterator
from functools import wraps
from typing import Any

from flwr.app import RecordDict
from flwr.server.superlink.linkstate.sqlite_linkstate import SqliteLinkState
from flwr.supercore.utils import int64_to_uint64

from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround

log = logging.getLogger(__name__)

ASKED = "SELECT run_id FROM message_ins WHERE message_id = ?"
ANSWERED = "SELECT 1 FROM message_res WHERE reply_to_message_id = ? LIMIT 1"


def take_one(patch: Patch) -> None:
    """Refuse a second reply to a message, and one that does not belong to it."""
    store, lock = SqliteLinkState.store_message_res, threading.Lock()

    @wraps(store)
    def store_message_res(self: Any, message: Any) -> str | None:
        with lock:  # two replies may come at once, each on a connection of its own
            reason = next(_problems(self, message), None)
            if reason is not None:
                node_id = message.metadata.src_node_id
                log.warning("reply refused node=%d reason=%s", node_id, reason)
                return None
            if message.has_content():
                message.content = RecordDict()  # the content comes as objects
            stored: str | None = store(self, message)
            return stored

    patch(SqliteLinkState, "store_message_res", store_message_res)


def _problems(state: Any, message: Any) -> Iterator[str]:
    metadata = message.metadata
    if not (math.isfinite(metadata.created_at) and math.isfinite(metadata.ttl)):
        yield "its times are no numbers"  # SQLite turns NaN into NULL
        return
    asked = state.query(ASKED, (metadata.reply_to_message_id,))
    if any(int64_to_uint64(row["run_id"]) != metadata.run_id for row in asked):
        yield "the message that it answers is of another run"
    if state.query(ANSWERED, (metadata.reply_to_message_id,)):
        yield "the message has a reply"


WORKAROUND = Workaround(
    name="one-reply",
    purpose=Purpose.SAFETY,
    effect="A client that sends a second reply to a message, or one that claims another run or a time that "
    "is no number, ends the run: the SuperLink fails whenever the ServerApp asks for its replies.",
    cause="a look-up that raises for two replies: linkstate/utils.py:333; replies are stored without a look "
    "at others: sqlite_linkstate.py:390; a run is compared when it is too late: serverappio_servicer.py:283",
    programs=frozenset({Program.SUPERLINK}),
    sources={
        "flwr.server.superlink.linkstate.sqlite_linkstate": {
            "SqliteLinkState.store_message_res": "037d6311ba82",
            "SqliteLinkState.get_message_res": "d9be83e01c47",
            "SQL_CREATE_TABLE_MESSAGE_INS": "076e067c500f",
            "SQL_CREATE_TABLE_MESSAGE_RES": "315ccfab44d0",
        },
        "flwr.server.superlink.linkstate.utils": {
            "verify_found_message_replies": "aa9cc7c28965",
        },
        "flwr.server.superlink.serverappio.serverappio_servicer": {
            "ServerAppIoServicer.PullMessages": "f76350f4a883",
        },
        "flwr.server.superlink.fleet.message_handler.message_handler": {
            "push_messages": "7cc397607871",
        },
        "flwr.supercore.sqlite_mixin": {
            "SqliteMixin.query": "808d35b32d46",
        },
        "flwr.supercore.utils": {
            "int64_to_uint64": "942d251dd5cb",
        },
        "flwr.app.metadata": {
            "Metadata.__init__": "6fbabfdad31b",
        },
    },
    apply=take_one,
)
