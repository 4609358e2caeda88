"""The SuperLink accepts a reply before it takes its objects, and takes no more than a reply may have.

Flower registers the objects of every reply, also of one that it refuses, and takes each object of any size
from whoever knows its id. Here a reply is first compared with the message that it answers; then its objects
are counted as they come. `fleet_limits` has the limits, `fleet_ledger` the account.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from flwr.common import Error
from flwr.common.constant import ErrorCode, Status
from flwr.common.date import now
from flwr.proto.fleet_pb2 import PushMessagesResponse
from flwr.proto.message_pb2 import PushObjectResponse
from flwr.server.superlink.fleet.grpc_rere.fleet_servicer import FleetServicer
from flwr.server.superlink.serverappio.serverappio_servicer import ServerAppIoServicer
from flwr.server.superlink.utils import abort_if

from oneflower.flower.private import PrivateUse
from oneflower.flower.v1_25.fleet_ledger import Ledger, TooLargeError, Upload
from oneflower.flower.v1_25.fleet_limits import RefusedError, ids_of, short_reason
from oneflower.flower.v1_25.refusals import MALFORMED, REFUSED, Refusals
from oneflower.flower.v1_25.stored_messages import answer, delete_reply, is_answered, stored_message

SWEEP_S: Final = 10.0
LONGEST_RUNTIME_S: Final = 30 * 24 * 3600.0
ENDED: Final = [Status.FINISHED]


class ReplyGate:
    """Stands before the calls about replies: the message is compared first, the objects are counted."""

    def __init__(
        self, ledger: Ledger, refusals: Refusals, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger = ledger
        self._refusals = refusals
        self._clock = clock
        self._accepting = threading.Lock()
        self._next_sweep = 0.0

    def wrappers(self) -> Iterator[tuple[type, str, Callable[[Any], Any]]]:
        """Yield the calls that it wraps."""
        yield FleetServicer, "PushMessages", self._push_messages
        yield FleetServicer, "PushObject", self._push_object
        yield ServerAppIoServicer, "ConfirmMessageReceived", self._taken

    def _push_messages(self, original: Any) -> Any:
        def push_messages(servicer: Any, request: Any, context: Any) -> Any:
            node_id = request.node.node_id
            self.sweep(servicer)
            if len(request.messages_list) != 1 or len(request.message_object_trees) != 1:
                reason = f"{len(request.messages_list)} replies in one request, expected one with its tree"
                self._refusals.refuse(context, MALFORMED, "PushMessages", node_id, reason)
            try:
                with self._accepting:
                    return self._accept(original, servicer, request, context)
            except RefusedError as error:
                self._refusals.refuse(context, REFUSED, "PushMessages", node_id, str(error))

        return push_messages

    def _accept(self, original: Any, servicer: Any, request: Any, context: Any) -> Any:
        node_id, wire = request.node.node_id, request.messages_list[0]
        state, store = servicer.state_factory.state(), servicer.objectstore_factory.store()
        tree, metadata = request.message_object_trees[0], wire.metadata
        ids = ids_of(tree, self._ledger.most_ids(metadata.run_id))
        known = self._ledger.upload(node_id, metadata.message_id)
        if known is not None and known.message_id == metadata.reply_to_message_id:
            return _response(known.reply_id, known.missing)  # the answer to it was lost on the way
        asked = self._asked(state, node_id, metadata)
        abort_if(metadata.run_id, ENDED, state, store, context)
        if wire.HasField("error"):
            error = Error(wire.error.code, short_reason(wire.error.reason))
            return _response(answer(state, asked, error), ())
        if metadata.message_id != tree.object_id or metadata.message_id in store:
            raise RefusedError("the id of the reply is not that of its objects")
        metadata.group_id = asked.metadata.group_id
        metadata.message_type = asked.metadata.message_type
        _keep_plausible_runtime(request)
        try:
            response = original(servicer, request, context)
        except BaseException:
            store.delete(metadata.message_id)
            raise
        if metadata.message_id not in response.results:
            store.delete(metadata.message_id)
            raise RefusedError("the reply does not fit its message: it lives longer, or names no receiver")
        upload = Upload(
            node_id=node_id,
            run_id=metadata.run_id,
            message_id=metadata.reply_to_message_id,
            reply_id=metadata.message_id,
            expires=asked.metadata.created_at + asked.metadata.ttl,
            ids=frozenset(ids),
            missing=set(response.objects_to_push),
        )
        self._ledger.accept(upload)
        return response

    @staticmethod
    def _asked(state: Any, node_id: int, metadata: Any) -> Any:
        """Return the message that a reply answers."""
        asked = stored_message(state, metadata.reply_to_message_id)
        if asked is None or asked.metadata.dst_node_id != node_id or metadata.src_node_id != node_id:
            raise RefusedError("the reply answers no message to this SuperNode, or one that has expired")
        if asked.metadata.run_id != metadata.run_id:
            raise RefusedError("the reply names another run than its message")
        if is_answered(state, metadata.reply_to_message_id):
            raise RefusedError("the message was answered before")
        return asked

    def _push_object(self, original: Any) -> Any:
        def push_object(servicer: Any, request: Any, context: Any) -> Any:
            node_id, size = request.node.node_id, request.ByteSize()
            try:
                upload, is_new = self._ledger.take(node_id, request.object_id, size)
            except TooLargeError as error:
                self._give_up(servicer, error)
                self._refusals.refuse(context, REFUSED, "PushObject", node_id, str(error))
            except RefusedError as error:
                self._refusals.refuse(context, REFUSED, "PushObject", node_id, str(error))
            if not is_new:
                return PushObjectResponse(stored=True)
            request.run_id = upload.run_id
            stored = False
            try:
                response = original(servicer, request, context)
                stored = response.stored
                return response
            finally:
                if not stored:
                    self._ledger.give_back(upload, request.object_id, size)

        return push_object

    def _give_up(self, servicer: Any, error: TooLargeError) -> None:
        """Drop a reply and answer its message, so that no round waits for it."""
        self.drop(servicer, error.upload)
        state = servicer.state_factory.state()
        asked = stored_message(state, error.upload.message_id)
        if asked is not None and not is_answered(state, error.upload.message_id):
            answer(state, asked, Error(ErrorCode.REPLY_MESSAGE_UNAVAILABLE, f"The SuperLink refused {error}"))

    def _taken(self, original: Any) -> Any:
        def taken(servicer: Any, request: Any, context: Any) -> Any:
            response = original(servicer, request, context)
            self._ledger.forget(request.message_object_id)
            return response

        return taken

    # --- what is left over ------------------------------------------------------------------------

    def drop(self, servicer: Any, upload: Upload) -> None:
        """Delete a reply and its objects."""
        if self._ledger.forget(upload.reply_id) is not None:
            delete_reply(servicer.state_factory.state(), upload.message_id, upload.reply_id)
            servicer.objectstore_factory.store().delete(upload.reply_id)

    def sweep(self, servicer: Any) -> None:
        """Drop, every ten seconds, the replies that nobody will take."""
        if self._clock() < self._next_sweep:
            return
        self._next_sweep = self._clock() + SWEEP_S
        state, time_now = servicer.state_factory.state(), now().timestamp()
        uploads = self._ledger.uploads()
        for upload in uploads:
            if stored_message(state, upload.message_id) is None:
                self._ledger.gone(upload.reply_id, time_now)
        for upload in self._ledger.overdue(time_now):
            self.drop(servicer, upload)
        unfinished = [upload for upload in uploads if upload.missing]
        if unfinished:
            node_ids = sorted({each.node_id for each in unfinished})
            online = {each.node_id for each in state.get_node_info(node_ids=node_ids, statuses=["online"])}
            for upload in unfinished:
                if upload.node_id not in online:
                    self.drop(servicer, upload)


def _response(reply_id: str, missing: Any) -> Any:
    return PushMessagesResponse(results={reply_id: 0}, objects_to_push=missing)


def _keep_plausible_runtime(request: Any) -> None:
    """Drop the ClientApp's time, which Flower adds up for the run, where it is none."""
    runtimes = list(request.clientapp_runtime_list)
    if not all(math.isfinite(each) and 0 <= each <= LONGEST_RUNTIME_S for each in runtimes[:1]):
        del request.clientapp_runtime_list[:]


USE = PrivateUse(
    name="reply gate",
    why="The limits at the Fleet API stand before its calls about replies.",
    sources={
        "flwr.server.superlink.fleet.grpc_rere.fleet_servicer": {
            "FleetServicer.__init__": "f051ea2f295e",
            "FleetServicer.PushMessages": "e4111e18f98b",
            "FleetServicer.PushObject": "fb2701c76302",
        },
        "flwr.server.superlink.fleet.message_handler.message_handler": {
            "push_messages": "7cc397607871",
            "push_object": "babebbfa1e6f",
        },
        "flwr.server.superlink.serverappio.serverappio_servicer": {
            "ServerAppIoServicer.ConfirmMessageReceived": "120cf7d63656",
        },
        "flwr.server.superlink.linkstate.linkstate_factory": {
            "LinkStateFactory.state": "a685e27c974c",
        },
        "flwr.supercore.object_store.object_store_factory": {
            "ObjectStoreFactory.store": "7990ab871e5c",
        },
        "flwr.server.superlink.linkstate.sqlite_linkstate": {
            "SqliteLinkState.get_node_info": "b52766b57a6b",
            "SqliteLinkState.store_message_res": "037d6311ba82",
        },
        "flwr.server.superlink.linkstate.in_memory_linkstate": {
            "InMemoryLinkState.get_node_info": "5738387b4d6d",
            "InMemoryLinkState.store_message_res": "c211b8eda821",
        },
        "flwr.supercore.object_store.sqlite_object_store": {
            "SqliteObjectStore.delete": "e27309f36184",
            "SqliteObjectStore.__contains__": "82b9dc094edc",
        },
        "flwr.supercore.object_store.in_memory_object_store": {
            "InMemoryObjectStore.delete": "e6ab07f837d6",
            "InMemoryObjectStore.__contains__": "1a72224945dd",
        },
        "flwr.server.superlink.utils": {"abort_if": "aab66ff512f0"},
        "flwr.supercore.constant": {
            "NodeStatus": "579b918c601f",
        },
        "flwr.proto.fleet_pb2": {
            "PushMessagesRequest": "dc8343572483",
            "PushMessagesResponse": "ba8f1284e662",
        },
        "flwr.proto.message_pb2": {
            "PushObjectRequest": "430bd51b8f9d",
            "PushObjectResponse": "52bfdd9d205b",
            "ConfirmMessageReceivedRequest": "f015bfb1bea5",
            "ObjectTree": "7ec5ec452c01",
            "Message": "608e62bf8a0f",
            "Metadata": "d4ed22226a45",
        },
        "flwr.proto.error_pb2": {
            "Error": "ad86bd162886",
        },
        "flwr.common.constant": {
            "ErrorCode": "4889fc3e5b66",
            "Status": "0fab62895910",
        },
        "flwr.common.date": {
            "now": "3bbbf9bb2c01",
        },
    },
)
