"""The SuperLink sends and takes the small objects of messages and replies with them, not each by itself.

What it is given so goes through the same gates as a call for each object would.
"""

import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from functools import wraps
from typing import Any, Final

from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.common.inflatable import iterate_object_tree
from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest
from flwr.proto.message_pb2 import PullObjectRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.server.superlink.fleet.grpc_rere.fleet_servicer import FleetServicer
from flwr.server.superlink.serverappio.serverappio_servicer import ServerAppIoServicer
from flwr.supercore.object_store.sqlite_object_store import SqliteObjectStore

from oneflower.flower.v1_25.bundles import (
    MESSAGE_BYTES,
    MESSAGE_OBJECTS,
    OBJECT_BYTES,
    RESPONSE_OBJECTS,
    asks,
    attach,
    detached,
)
from oneflower.flower.v1_25.lane import LANE, Rank
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround

log = logging.getLogger(__name__)
SMALL: Final = """
SELECT object_id, length(content) AS size FROM objects
WHERE object_id IN ({}) AND is_available = 1 AND length(content) <= ?
"""


def bundle_of_superlink(patch: Patch) -> None:
    """Let the SuperLink send and take the small objects of messages and replies with them."""
    for servicer, rank in ((FleetServicer, Rank.MESSAGE), (ServerAppIoServicer, Rank.SERVERAPP)):
        patch(servicer, "PullMessages", _answering(servicer.PullMessages, rank))
        patch(servicer, "PushMessages", _hearing(servicer.PushMessages, rank))


def _answering(pull_messages: Any, rank: Rank) -> Any:
    @wraps(pull_messages)
    def pull_with_objects(self: Any, request: Any, context: Any) -> Any:
        response = pull_messages(self, request, context)
        if response.messages_list and asks(request):
            with LANE.turn(rank):
                try:
                    _attach_stored(self, request, response, context)
                except sqlite3.Error as error:  # the message itself counts as delivered by now
                    log.warning("objects of a message not attached reason=%r", error)
        return response

    return pull_with_objects


def _attach_stored(servicer: Any, request: Any, response: Any, context: Any) -> None:
    """Attach what there is of each message as if the caller had asked for it, object by object."""
    store, left = servicer.objectstore_factory.store(), RESPONSE_OBJECTS
    if not isinstance(store, SqliteObjectStore):
        return
    for message, tree in zip(response.messages_list, response.message_object_trees, strict=True):
        form = _form(PullObjectRequest, request, message)
        # The head of the message is the last of its tree, and its records are before that.
        last = [node.object_id for node in iterate_object_tree(tree)][-MESSAGE_OBJECTS:]
        small = _that_fit(store.query(SMALL.format(", ".join("?" * len(last))), (*last, OBJECT_BYTES)))
        left -= len(small)
        if left < 0:
            return
        attach(response, _pulled(servicer, form, small, context))


def _that_fit(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the ids of those objects for which there is room: only they are read, and count as traffic."""
    found, left = [], MESSAGE_BYTES
    for row in rows:
        if row["size"] <= left:
            left -= row["size"]
            found.append(row["object_id"])
    return found


def _pulled(servicer: Any, form: Any, object_ids: list[str], context: Any) -> Iterator[tuple[str, bytes]]:
    for object_id in object_ids:
        form.object_id = object_id
        yield object_id, servicer.PullObject(form, context).object_content


def _form(kind: Any, request: Any, message: Any) -> Any:
    """Return the request for an object as the caller would send it."""
    if isinstance(request, PullMessagesRequest | PushMessagesRequest):
        return kind(node=request.node, run_id=message.metadata.run_id)
    return kind(node=Node(node_id=SUPERLINK_NODE_ID), run_id=request.run_id)


def _hearing(push_messages: Any, rank: Rank) -> Any:
    @wraps(push_messages)
    def push_with_objects(self: Any, request: Any, context: Any) -> Any:
        contents = detached(request)
        if not contents:
            return push_messages(self, request, context)
        with LANE.turn(rank):  # who is woken by the message finds its objects
            response = push_messages(self, request, context)
            _store(self, request, response, contents, context)
        return response

    return push_with_objects


def _store(servicer: Any, request: Any, response: Any, contents: Mapping[str, bytes], context: Any) -> None:
    """Store what was attached as if the caller had sent it, object by object, and ask for the rest."""
    form = _form(PushObjectRequest, request, request.messages_list[0])
    wanted = []
    for object_id in response.objects_to_push:
        if object_id in contents:
            form.object_id, form.object_content = object_id, contents[object_id]
            if servicer.PushObject(form, context).stored:
                continue
        wanted.append(object_id)
    response.objects_to_push[:] = wanted


WORKAROUND = Workaround(
    name="bundled-answers",
    purpose=Purpose.SPEED,
    effect="Each of the five and more objects of a message is a call of the ServerApp, one of the SuperNode "
    "and one of its executor, and so is each of the reply: most of a round's calls, for a few hundred bytes.",
    cause="every object is pushed and pulled on its own: inflatable_utils.py:120, 190",
    programs=frozenset({Program.SUPERLINK}),
    # It calls for all objects what the others have made of a call for one, once they have seen the message.
    after=("reply-limits", "held-pulls", "stale-nodes", "held-replies", "object-trees"),
    sources={
        "flwr.server.superlink.fleet.grpc_rere.fleet_servicer": {
            "FleetServicer.PullMessages": "9a4dde1305ca",
            "FleetServicer.PushMessages": "e4111e18f98b",
            "FleetServicer.PullObject": "cb8c3559a120",
            "FleetServicer.PushObject": "fb2701c76302",
        },
        "flwr.server.superlink.serverappio.serverappio_servicer": {
            "ServerAppIoServicer.PullMessages": "f76350f4a883",
            "ServerAppIoServicer.PushMessages": "04744d35f4f3",
            "ServerAppIoServicer.PullObject": "bb5a6e36f434",
            "ServerAppIoServicer.PushObject": "ddae4780d0f0",
        },
        "flwr.supercore.object_store.object_store_factory": {
            "ObjectStoreFactory.store": "7990ab871e5c",
        },
        "flwr.supercore.object_store.sqlite_object_store": {
            "SqliteObjectStore.__init__": "dbe9bc288788",
            "SQL_CREATE_OBJECTS": "bb06f4d488cf",
        },
        "flwr.supercore.sqlite_mixin": {
            "SqliteMixin.query": "808d35b32d46",
        },
        "flwr.proto.fleet_pb2": {
            "PullMessagesRequest": "818523c80c28",
            "PullMessagesResponse": "fa1801a96f72",
            "PushMessagesRequest": "dc8343572483",
            "PushMessagesResponse": "ba8f1284e662",
        },
        "flwr.proto.appio_pb2": {
            "PullAppMessagesRequest": "9cad60e1f1de",
            "PullAppMessagesResponse": "538c9076ed2a",
            "PushAppMessagesRequest": "617c4767a915",
            "PushAppMessagesResponse": "816caeb04fc0",
        },
        "flwr.proto.message_pb2": {
            "PullObjectRequest": "b5fa546ba3b9",
            "PullObjectResponse": "f61b519308b9",
            "PushObjectRequest": "430bd51b8f9d",
            "PushObjectResponse": "52bfdd9d205b",
            "ObjectTree": "7ec5ec452c01",
        },
        "flwr.proto.node_pb2": {
            "Node": "8bd3e02a281e",
        },
        "flwr.common.constant": {
            "SUPERLINK_NODE_ID": "6b86b273ff34",
        },
        "flwr.common.inflatable": {
            "iterate_object_tree": "34c0fe845619",
        },
    },
    apply=bundle_of_superlink,
)
