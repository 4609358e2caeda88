"""The ServerApp gets replies when they come, and asks without the SuperLink looking at every message."""

import time
from functools import wraps
from typing import Any, Final

from flwr.common.date import now
from flwr.server.superlink.linkstate.sqlite_linkstate import SqliteLinkState
from flwr.server.superlink.serverappio.serverappio_servicer import ServerAppIoServicer

from oneflower.flower.v1_25.lane import LANE, Rank
from oneflower.flower.v1_25.questions import REPLIES
from oneflower.flower.v1_25.replies import HOLD_HEADER
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround

HOLD_S: Final = 5.0
"""At most, whatever is asked for."""
CALLS: Final = (
    "ConfirmMessageReceived",
    "GetFab",
    "GetNodes",
    "GetRun",
    "ListAppsToLaunch",
    "PullMessages",
    "PullObject",
    "PushLogs",
    "PushMessages",
    "PushObject",
    "SendAppHeartbeat",
    "UpdateRunStatus",
)
ANSWERED: Final = "SELECT reply_to_message_id AS id FROM message_res WHERE delivered_at = ''"
WAITING: Final = """
SELECT message_id AS id FROM message_ins JOIN node ON node_id = dst_node_id
WHERE created_at + ttl > ? AND online_until > ? AND status != 'unregistered'
"""


def hold_replies(patch: Patch) -> None:
    """Hold `ServerAppIo.PullMessages` where that is asked for, and look for the replies that there are."""
    for name in CALLS:
        patch(ServerAppIoServicer, name, _in_lane(getattr(ServerAppIoServicer, name)))
    pull_messages, get_res = ServerAppIoServicer.PullMessages, SqliteLinkState.get_message_res
    store_res = SqliteLinkState.store_message_res

    @wraps(store_res)
    def store_message_res(self: Any, message: Any) -> Any:
        stored = store_res(self, message)
        if message.has_error():  # it has no objects that are still to come
            REPLIES.came()
        return stored

    @wraps(pull_messages)
    def hold_pull_messages(self: Any, request: Any, context: Any) -> Any:
        ends = time.monotonic() + _hold_s(context)
        while True:
            since = REPLIES.number
            response = pull_messages(self, request, context)
            left = ends - time.monotonic()
            if response.messages_list or left <= 0 or not context.is_active():
                return response
            if not REPLIES.wait(since, left):
                return response

    @wraps(get_res)
    def get_message_res(self: Any, message_ids: set[str]) -> Any:
        time_now = now().timestamp()
        waiting = {row["id"] for row in self.query(WAITING, (time_now, time_now))}
        answered = {row["id"] for row in self.query(ANSWERED)}
        found = {each for each in message_ids if each in answered or each not in waiting}
        return get_res(self, found) if found else []

    patch(SqliteLinkState, "store_message_res", store_message_res)
    patch(ServerAppIoServicer, "PullMessages", hold_pull_messages)
    patch(SqliteLinkState, "get_message_res", get_message_res)


def _hold_s(context: Any) -> float:
    """Return for how many seconds a ServerApp lets its question be held; stock Flower asks again itself."""
    given = dict(context.invocation_metadata() or ()).get(HOLD_HEADER, "0")
    try:
        return min(HOLD_S, float(given))
    except ValueError:
        return 0.0


def _in_lane(original: Any) -> Any:
    rank = Rank.HEARTBEAT if original.__name__ == "SendAppHeartbeat" else Rank.SERVERAPP

    @wraps(original)
    def in_lane(self: Any, request: Any, context: Any) -> Any:
        with LANE.turn(rank):
            return original(self, request, context)

    return in_lane


WORKAROUND = Workaround(
    name="held-replies",
    purpose=Purpose.SPEED,
    effect="A reply waits 0.2 s and longer until the ServerApp asks again. With many nodes each question "
    "reads every message that has no reply yet, four queries a message.",
    cause="a question is answered at once: serverappio_servicer.py:237; all messages are looked at: "
    "sqlite_linkstate.py:512",
    programs=frozenset({Program.SUPERLINK}),
    # It looks for few messages before the others look at each of them, and is in the lane outside of all.
    after=("lost-messages", "reply-limits", "one-reply", "object-trees", "kept-connections"),
    sources={
        "flwr.server.superlink.serverappio.serverappio_servicer": {
            "ServerAppIoServicer.ConfirmMessageReceived": "120cf7d63656",
            "ServerAppIoServicer.GetFab": "06b03fc066ae",
            "ServerAppIoServicer.GetNodes": "6a00927659da",
            "ServerAppIoServicer.GetRun": "0d6d42627895",
            "ServerAppIoServicer.ListAppsToLaunch": "1cf6dffd565a",
            "ServerAppIoServicer.PullMessages": "f76350f4a883",
            "ServerAppIoServicer.PullObject": "bb5a6e36f434",
            "ServerAppIoServicer.PushLogs": "366f6ea5c8b6",
            "ServerAppIoServicer.PushMessages": "04744d35f4f3",
            "ServerAppIoServicer.PushObject": "ddae4780d0f0",
            "ServerAppIoServicer.SendAppHeartbeat": "ba1e5a25b01b",
            "ServerAppIoServicer.UpdateRunStatus": "dd51f7f23b36",
        },
        "flwr.server.superlink.linkstate.sqlite_linkstate": {
            "SqliteLinkState.get_message_res": "d9be83e01c47",
            "SqliteLinkState.store_message_res": "037d6311ba82",
            "SQL_CREATE_TABLE_MESSAGE_INS": "076e067c500f",
            "SQL_CREATE_TABLE_MESSAGE_RES": "315ccfab44d0",
            "SQL_CREATE_TABLE_NODE": "68fa9cea4c44",
        },
        "flwr.supercore.sqlite_mixin": {
            "SqliteMixin.query": "808d35b32d46",
        },
        "flwr.proto.appio_pb2": {
            "PullAppMessagesResponse": "538c9076ed2a",
        },
        "flwr.common.date": {
            "now": "3bbbf9bb2c01",
        },
    },
    apply=hold_replies,
)
