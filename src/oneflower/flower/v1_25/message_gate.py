"""What a SuperNode may ask of the Fleet API: messages for it, their objects, and their run."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import grpc
from flwr.server.superlink.fleet.grpc_rere.fleet_servicer import FleetServicer

from oneflower.flower.private import PrivateUse
from oneflower.flower.v1_25.fleet_ledger import Ledger, Upload
from oneflower.flower.v1_25.fleet_limits import ids_of, is_object_id
from oneflower.flower.v1_25.refusals import MALFORMED, REFUSED, Refusals

# On this status alone a SuperNode goes on as if the run had ended: retry_invoker.py:351.
NO_RUN: Final = grpc.StatusCode["PERMISSION_DENIED"]

Wrapper = Callable[[Any], Any]


class MessageGate:
    """Stands before the calls about messages of the ServerApp's: a node gets what it was handed, no more."""

    def __init__(
        self, ledger: Ledger, refusals: Refusals, drop_reply: Callable[[Any, Upload], object]
    ) -> None:
        self._ledger = ledger
        self._refusals = refusals
        self._drop_reply = drop_reply

    def wrappers(self) -> Iterator[tuple[type, str, Wrapper]]:
        """Yield the calls that it wraps."""
        for name, wrapper in (
            ("PullMessages", self._pull_messages),
            ("PullObject", self._pull_object),
            ("ConfirmMessageReceived", self._confirm),
            ("GetRun", self._about_run),
            ("GetFab", self._about_run),
            ("DeactivateNode", self._leave),
            ("UnregisterNode", self._leave),
        ):
            yield FleetServicer, name, wrapper

    def _pull_messages(self, original: Any) -> Any:
        def pull_messages(servicer: Any, request: Any, context: Any) -> Any:
            node_id = request.node.node_id
            # It handles one message at a time: what it has not sent by now it will not send.
            for upload in self._ledger.unfinished(node_id):
                self._drop_reply(servicer, upload)
            response = original(servicer, request, context)
            for message, tree in zip(response.messages_list, response.message_object_trees, strict=True):
                ids = ids_of(tree, most=tree.ByteSize() + 1)
                metadata = message.metadata
                self._ledger.hand(node_id, metadata.run_id, metadata.message_id, ids)
            return response

        return pull_messages

    def _pull_object(self, original: Any) -> Any:
        def pull_object(servicer: Any, request: Any, context: Any) -> Any:
            node_id, run_id, object_id = request.node.node_id, request.run_id, request.object_id
            if not self._ledger.may_pull(node_id, run_id, object_id):
                reason = "the object is of no message that this SuperNode was handed"
                self._refusals.refuse(context, REFUSED, "PullObject", node_id, reason)
            response = original(servicer, request, context)
            content = response.object_content if response.object_available else b""
            self._ledger.pulled(node_id, run_id, object_id, content)
            return response

        return pull_object

    def _confirm(self, original: Any) -> Any:
        def confirm(servicer: Any, request: Any, context: Any) -> Any:
            node_id = request.node.node_id
            if not self._ledger.received(node_id, request.message_object_id):
                reason = "this SuperNode was not handed the message that it confirms"
                self._refusals.refuse(context, REFUSED, "ConfirmMessageReceived", node_id, reason)
            return original(servicer, request, context)

        return confirm

    def _about_run(self, original: Any) -> Any:
        def about_run(servicer: Any, request: Any, context: Any) -> Any:
            node_id = request.node.node_id
            if not self._ledger.knows_run(node_id, request.run_id):
                reason = "this SuperNode was handed no message of the run"
                self._refusals.refuse(context, NO_RUN, original.__name__, node_id, reason)
            if not is_object_id(getattr(request, "hash_str", "0" * 64)):
                reason = "the hash is not a SHA-256 in lower-case hexadecimal digits"
                self._refusals.refuse(context, MALFORMED, original.__name__, node_id, reason)
            return original(servicer, request, context)

        return about_run

    def _leave(self, original: Any) -> Any:
        def leave(servicer: Any, request: Any, context: Any) -> Any:
            response = original(servicer, request, context)
            for upload in self._ledger.unfinished(request.node_id):
                self._drop_reply(servicer, upload)
            self._ledger.leave(request.node_id)
            return response

        return leave


USE = PrivateUse(
    name="message gate",
    why="The limits at the Fleet API stand before its calls about messages.",
    sources={
        "flwr.server.superlink.fleet.grpc_rere.fleet_servicer": {
            "FleetServicer.PullMessages": "9a4dde1305ca",
            "FleetServicer.PullObject": "cb8c3559a120",
            "FleetServicer.ConfirmMessageReceived": "797ca0845bf2",
            "FleetServicer.GetRun": "d2bbf724ec77",
            "FleetServicer.GetFab": "da018067fd05",
            "FleetServicer.DeactivateNode": "e2a088c9a69a",
            "FleetServicer.UnregisterNode": "27c5e7c05fa6",
        },
        "flwr.server.superlink.fleet.message_handler.message_handler": {
            "pull_messages": "b40501929272",
            "pull_object": "2ec57ad238c8",
        },
        "flwr.proto.fleet_pb2": {
            "PullMessagesResponse": "fa1801a96f72",
            "DeactivateNodeRequest": "8bd3e02a281e",
        },
        "flwr.proto.message_pb2": {
            "PullObjectRequest": "b5fa546ba3b9",
            "PullObjectResponse": "f61b519308b9",
            "ConfirmMessageReceivedRequest": "f015bfb1bea5",
            "ObjectTree": "7ec5ec452c01",
            "Message": "608e62bf8a0f",
            "Metadata": "d4ed22226a45",
        },
        "flwr.proto.fab_pb2": {
            "GetFabRequest": "c91e326e4405",
        },
        "flwr.common.retry_invoker": {
            "_make_simple_grpc_retry_invoker": "c42ffb6481f8",
        },
    },
)
