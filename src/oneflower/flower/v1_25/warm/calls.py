"""The calls of an executor for one message: it is asked for, pulled and answered.

A SuperNode of ours encloses in an answer what would be called for next (workaround `bundled-calls-executor`);
one that does not, such as a stock one, is called for each.
"""

import os
from contextlib import contextmanager, suppress
from logging import INFO
from typing import TYPE_CHECKING

from flwr.app import Error
from flwr.common import Message, log
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
from flwr.common.serde import message_from_proto
from flwr.proto.appio_pb2 import (
    ListAppsToLaunchRequest,
    PullAppInputsResponse,
    PullAppMessagesRequest,
    PushAppMessagesRequest,
    PushAppOutputsRequest,
    RequestTokenRequest,
    RequestTokenResponse,
)
from flwr.proto.clientappio_pb2_grpc import ClientAppIoStub
from flwr.proto.message_pb2 import Context as ProtoContext
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node

from oneflower.flower.v1_25.bundles import (
    INPUTS,
    OBJECT_BYTES,
    OUTPUTS,
    TOKEN,
    ask,
    attach,
    attached,
    enclose,
    enclosed,
)
from oneflower.flower.v1_25.warm.app import CONTEXT, MESSAGE, TREE, write_reply
from oneflower.flower.v1_25.warm.exchange import Parcel, ParcelWriter, new_parcel

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSWER_S = 60.0
"""A SuperNode holds a question for three seconds; after so long this process ends, and is started again."""
BACKOFF_S, LONGEST_BACKOFF_S = 0.02, 0.5
"""A message is listed before the SuperNode has all its objects: the first wait for one, and the longest."""


def take_next(stub: ClientAppIoStub) -> tuple[str, PullAppInputsResponse | None] | None:
    """Ask for a message until the SuperNode's patience ends.

    Returns
    -------
    tuple or None
        The token, empty where another executor was quicker, and the inputs if they came with it; None where
        there is no message.
    """
    request = ListAppsToLaunchRequest()
    ask(request)
    answer = stub.ListAppsToLaunch(request, timeout=ANSWER_S)
    if not answer.run_ids:
        return None
    came = enclosed(answer)
    if TOKEN in came:
        given = RequestTokenResponse.FromString(came[TOKEN])
    else:
        given = stub.RequestToken(RequestTokenRequest(run_id=answer.run_ids[0]))
    return given.token, PullAppInputsResponse.FromString(came[INPUTS]) if INPUTS in came else None


class Exchange:
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
        missing = [object_id for object_id in object_ids if object_id not in came]
        if not missing:
            parcel.close()
            return  # the SuperNode forgets it when it is answered
        pull_objects(
            missing,
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
        """Push reply, objects and context, which ends the token; in one call where they are small."""
        with Parcel(outputs) as parcel:
            request = PushAppMessagesRequest(
                token=self._token,
                messages_list=[ProtoMessage.FromString(parcel[MESSAGE])],
                message_object_trees=[ObjectTree.FromString(parcel[TREE])],
            )
            attach(request, parcel.small(OBJECT_BYTES, apart=(CONTEXT, MESSAGE, TREE)))
            state = PushAppOutputsRequest(token=self._token, context=ProtoContext.FromString(parcel[CONTEXT]))
            if state.ByteSize() <= OBJECT_BYTES:
                enclose(request, OUTPUTS, state.SerializeToString())
            answer = self._stub.PushMessage(request)
            push_object_contents_from_iterable(
                ((object_id, parcel[object_id]) for object_id in answer.objects_to_push), self._push
            )
        if OUTPUTS not in enclosed(answer):
            self._stub.PushClientAppOutputs(state)

    def _push(self, object_id: str, content: bytes) -> None:
        push = make_push_object_fn_protobuf(self._stub.PushObject, self._node, self._context.run_id)
        # The SuperNode forgets a reply when the SuperLink has all of it, which may have its arrays already,
        # of another node or of the message. What comes after that is wanted by nobody.
        with suppress(ObjectIdNotPreregisteredError):
            push(object_id, content)
