"""Ask the SuperNode for messages, have them run in a warm process, and send the replies.

The calls and their order are those of Flower's superexec and flwr-clientapp: run_superexec.py,
run_clientapp.py.
"""

import os
import subprocess
import sys
import threading
from contextlib import closing, contextmanager, suppress
from logging import ERROR, INFO, WARNING
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from flwr.app import Error
from flwr.common import Message, log
from flwr.common.constant import ErrorCode
from flwr.common.grpc import create_channel
from flwr.common.inflatable import iterate_object_tree
from flwr.common.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.common.inflatable_utils import (
    ObjectIdNotPreregisteredError,
    pull_objects,
    push_object_contents_from_iterable,
)
from flwr.common.retry_invoker import _make_simple_grpc_retry_invoker, _wrap_stub
from flwr.common.serde import fab_from_proto, message_from_proto, run_from_proto
from flwr.common.typing import Fab
from flwr.proto.appio_pb2 import (
    ListAppsToLaunchRequest,
    PullAppInputsRequest,
    PullAppMessagesRequest,
    PushAppMessagesRequest,
    PushAppOutputsRequest,
    RequestTokenRequest,
)
from flwr.proto.clientappio_pb2_grpc import ClientAppIoStub
from flwr.proto.heartbeat_pb2 import SendAppHeartbeatRequest
from flwr.proto.message_pb2 import Context as ProtoContext
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.supercore.heartbeat import HeartbeatSender

from oneflower.flower.programs import TOKEN_VARIABLE
from oneflower.flower.v1_25.bundles import OBJECT_BYTES, ask, attach, attached
from oneflower.flower.v1_25.pace import Pace
from oneflower.flower.v1_25.warm.app import CONTEXT, MESSAGE, TREE, write_reply
from oneflower.flower.v1_25.warm.exchange import Parcel, ParcelWriter, new_parcel
from oneflower.flower.v1_25.warm.nursery import ChildEndedError, Nursery, Zygote

if TYPE_CHECKING:
    from collections.abc import Iterator

ASK_EVERY_S = 1.0
"""Flower's own pause: run_superexec.py:150. Shorter while there is work, and held at a SuperNode of ours."""
ASK_AGAIN_S = 0.1
ANSWER_S = 60.0
"""A SuperNode holds a question for three seconds; after so long this process ends, and is started again."""
BACKOFF_S, LONGEST_BACKOFF_S = 0.02, 0.5
"""A message is listed before the SuperNode has all its objects: the first wait for one, and the longest."""
SPARE_S = 1.0
"""A message is given up this long before it expires, or its error reply would have expired too."""


class Executor:
    """Runs the messages of one SuperNode, one after the other as the SuperNode hands them out.

    Parameters
    ----------
    address : str
        The SuperNode's ClientAppIo API.
    flwr_dir : Path
        Where apps are installed.
    """

    def __init__(self, address: str, flwr_dir: Path) -> None:
        self._address = address
        self._flwr_dir = flwr_dir
        self._channel = create_channel(server_address=address, insecure=True, root_certificates=None)
        self._stub = ClientAppIoStub(self._channel)
        _wrap_stub(self._stub, _make_simple_grpc_retry_invoker())
        self._nursery = Nursery(flwr_dir)
        self._cold: list[subprocess.Popen[bytes]] = []

    def serve(self) -> None:
        """Run whatever comes; does not come back."""
        pace = Pace(idle_s=ASK_EVERY_S, shortest_s=ASK_AGAIN_S)
        with closing(self._channel):
            while True:
                if self.run_next():
                    pace.worked()
                else:
                    pace.sleep(ASK_EVERY_S)

    def run_next(self) -> bool:
        """Run one message if there is one; say whether there was."""
        self._nursery.look_after()
        self._cold = [process for process in self._cold if process.poll() is None]
        run_ids = self._stub.ListAppsToLaunch(ListAppsToLaunchRequest(), timeout=ANSWER_S).run_ids
        if not run_ids:
            return False
        token = self._stub.RequestToken(RequestTokenRequest(run_id=run_ids[0])).token
        if token:
            try:
                self._run(token)
            # The SuperNode answers for the message when its token expires, or has forgotten it already.
            except (grpc.RpcError, ObjectIdNotPreregisteredError) as error:
                log(ERROR, "message given up, the SuperNode refused a call: %r", error)
        return bool(token)

    def _run(self, token: str) -> None:
        inputs = self._stub.PullClientAppInputs(PullAppInputsRequest(token=token))
        run, fab = run_from_proto(inputs.run), fab_from_proto(inputs.fab)
        with self._heartbeat(token) as lost:
            crash, refusal, zygote = "", None, None
            try:
                zygote, refusal = self._nursery.zygote_for(run, fab)
            except ChildEndedError as error:
                crash = str(error)
                self._nursery.forget()
            if zygote is not None and zygote.unforkable:
                self._run_cold(token, fab, zygote.unforkable)
                return
            exchange = _Exchange(stub=self._stub, token=token, context=inputs.context)
            with exchange.message() as (message, outputs):
                if refusal is not None:
                    exchange.fail(outputs, Error(*refusal), message)
                elif crash or zygote is None:
                    exchange.fail(outputs, _crashed(crash), message)
                else:
                    self._run_warm(exchange, zygote, message, outputs, lost)

    def _run_warm(self, exchange: "_Exchange", zygote: Zygote, message: Any, outputs: int, lost: Any) -> None:
        metadata = message.metadata
        deadline_s = max(0.0, metadata.ttl - SPARE_S)
        try:
            zygote.run(metadata.message_id, exchange.inputs, outputs, deadline_s=deadline_s, lost=lost.is_set)
        except ChildEndedError as error:
            log(ERROR, "ClientApp stopped responding: %s message=%s", error, metadata.message_id)
            os.ftruncate(outputs, 0)
            exchange.fail(outputs, _crashed(str(error)), message)
        else:
            exchange.send(outputs)

    def _run_cold(self, token: str, fab: Fab, reason: str) -> None:
        """Start Flower's own process for an app that cannot be forked; it does the rest."""
        log(WARNING, "app runs in a new process each time fab=%s reason=%s", fab.hash_str[:8], reason)
        command = [sys.executable, "-P", "-m", "oneflower.flower.launch", "clientapp", "--insecure"]
        command += ["--clientappio-api-address", self._address]
        command += ["--parent-pid", str(os.getpid()), "--flwr-dir", str(self._flwr_dir)]
        self._cold.append(subprocess.Popen(command, env={**os.environ, TOKEN_VARIABLE: token}))

    @contextmanager
    def _heartbeat(self, token: str) -> "Iterator[threading.Event]":
        """Keep the token alive meanwhile; the event is set when the SuperNode no longer knows it."""
        lost = threading.Event()
        stub = ClientAppIoStub(self._channel)

        def beat() -> bool:
            try:
                known = stub.SendAppHeartbeat(SendAppHeartbeatRequest(token=token), timeout=5).success
            except grpc.RpcError:
                return False  # it is sent again, with growing pauses
            if not known:
                lost.set()
            return True

        sender = HeartbeatSender(beat)
        sender.start()
        try:
            yield lost
        finally:
            sender.stop()


class _Exchange:
    """What is pulled and pushed for one message, under one token."""

    def __init__(self, *, stub: ClientAppIoStub, token: str, context: ProtoContext) -> None:
        self._stub = stub
        self._token = token
        self._context = context
        self._node = Node(node_id=context.node_id)
        self.inputs = -1

    @contextmanager
    def message(self) -> "Iterator[tuple[Message, int]]":
        """Pull the message into `inputs`; give its head, and the descriptor for the outputs."""
        request = PullAppMessagesRequest(token=self._token)
        ask(request)
        answer = self._stub.PullMessage(request)
        head = message_from_proto(answer.messages_list[0])
        self.inputs, outputs = new_parcel("inputs"), new_parcel("outputs")
        try:
            self._pull(answer.message_object_trees[0], attached(answer))
            yield head, outputs
        finally:
            os.close(self.inputs)
            os.close(outputs)

    def _pull(self, tree: ObjectTree, came: dict[str, bytes]) -> None:
        """Write the objects of a message into `inputs`: those that came with it, and what is pulled."""
        parcel = ParcelWriter(self.inputs)
        parcel.add(CONTEXT, self._context.SerializeToString())
        pull = make_pull_object_fn_protobuf(self._stub.PullObject, self._node, self._context.run_id)

        def store(object_id: str) -> bytes:
            parcel.add(object_id, pull(object_id))
            return b""  # kept in the parcel, not once more in this process

        object_ids = dict.fromkeys(node.object_id for node in iterate_object_tree(tree))
        for object_id in object_ids.keys() & came.keys():
            parcel.add(object_id, came[object_id])
        pull_objects(
            [object_id for object_id in object_ids if object_id not in came],
            store,
            initial_backoff=BACKOFF_S,
            backoff_cap=LONGEST_BACKOFF_S,
            max_tries_per_object=None,
        )
        parcel.close()
        confirm = self._stub.ConfirmMessageReceived
        make_confirm_message_received_fn_protobuf(confirm, self._node, self._context.run_id)(tree.object_id)

    def fail(self, outputs: int, error: Error, message: Message) -> None:
        """Send an error reply, with the context as it was."""
        log(INFO, "error reply code=%d reason=%s", error.code, error.reason)
        parcel = ParcelWriter(outputs)
        write_reply(parcel, Message(error, reply_to=message))
        parcel.add(CONTEXT, self._context.SerializeToString())
        parcel.close()
        self.send(outputs)

    def send(self, outputs: int) -> None:
        """Push the reply, its objects, and the context, which ends the token."""
        with Parcel(outputs) as parcel:
            request = PushAppMessagesRequest(
                token=self._token,
                messages_list=[ProtoMessage.FromString(parcel[MESSAGE])],
                message_object_trees=[ObjectTree.FromString(parcel[TREE])],
            )
            attach(request, parcel.small(OBJECT_BYTES, apart=(CONTEXT, MESSAGE, TREE)))
            answer = self._stub.PushMessage(request)
            push_object_contents_from_iterable(
                ((object_id, parcel[object_id]) for object_id in answer.objects_to_push), self._push
            )
            context = ProtoContext.FromString(parcel[CONTEXT])
        self._stub.PushClientAppOutputs(PushAppOutputsRequest(token=self._token, context=context))

    def _push(self, object_id: str, content: bytes) -> None:
        push = make_push_object_fn_protobuf(self._stub.PushObject, self._node, self._context.run_id)
        # The SuperNode forgets a reply when the SuperLink has all of it, which may have its arrays already,
        # of another node or of the message. What comes after that is wanted by nobody.
        with suppress(ObjectIdNotPreregisteredError):
            push(object_id, content)


def _crashed(how: str) -> Error:
    """Return the error that Flower replies with for a ClientApp that died, and how it did."""
    return Error(ErrorCode.CLIENT_APP_CRASHED, f"ClientApp stopped responding: {how}.")
