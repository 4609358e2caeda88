"""Pull replies, each by itself: whatever is wrong with one is that one's, and no other waits or fails for it.

`GrpcGrid.pull_messages` pulls and inflates all that have come in one go, and one that cannot be read raises.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from logging import WARNING
from threading import Lock
from typing import Any, Final

import grpc
from flwr.app import Error, RecordDict
from flwr.common import log
from flwr.common.constant import ErrorCode
from flwr.common.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.common.inflatable_utils import ObjectUnavailableError, pull_objects
from flwr.proto.appio_pb2 import PullAppMessagesRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree
from flwr.server.grid.grpc_grid import GrpcGrid

from oneflower.codes import LeftOutCode
from oneflower.flower.private import PrivateUse
from oneflower.flower.refusals import LIMIT_VARIABLE, Limits, Refusal, ReplyRefusedError, words_of
from oneflower.flower.v1_25.inflating import Store, chunk_ids, inflate, object_ids

Content = RecordDict | Error

HOLD_HEADER: Final = "oneflower-hold-s"
"""Says with a question for replies for how many seconds the SuperLink may hold it."""

NO_PROGRESS_S: Final = 60.0
"""An object that the SuperLink lacks is waited for this long after the last one came."""
FIRST_PAUSE_S: Final = 0.2
# What the SuperLink answers where one reply or one object is the trouble, and not the way to it.
_OF_ONE_REPLY: Final = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DATA_LOSS,
    }
)


def pull(
    grid: GrpcGrid,
    message_ids: Sequence[str],
    limits_of: Callable[[str], Limits | None],
    store: Store | None = None,
    *,
    hold_s: float = 0.0,
) -> Iterator[tuple[str, Content]]:
    """Yield for each message whose reply has come its id, with the reply's content or the error in its place.

    Parameters
    ----------
    limits_of
        Returns what a reply to a message may hold; None for a message that was not sent.
    store
        Where the bytes of arrays go; without, all objects of a reply are in memory at once.
    hold_s
        How long the SuperLink may wait for a reply where none is there.

    Raises
    ------
    grpc.RpcError
        The SuperLink cannot be reached, or has ended the run.
    """
    puller = _Puller(grid, store, hold_s)
    for head in puller.heads(message_ids):
        limits = limits_of(head.message_id)
        if limits is None:  # another reply to the same message
            puller.drop(head)
        else:
            yield head.message_id, puller.content(head, limits)


@dataclass(frozen=True, slots=True)
class _Head:
    """The message that has a reply, and the reply's own id and objects; without them none can be had."""

    message_id: str
    reply_id: str = ""
    tree: ObjectTree | None = None


class _Puller:
    def __init__(self, grid: GrpcGrid, store: Store | None, hold_s: float) -> None:
        self._grid, self._store = grid, store
        self._options = {"metadata": ((HOLD_HEADER, f"{hold_s:.3f}"),)} if hold_s > 0 else {}
        self._stub: Any = grid._stub  # noqa: SLF001 - its connection, with its retries
        self._run_id = grid.run.run_id

    def heads(self, message_ids: Sequence[str]) -> Iterator[_Head]:
        """Yield the head of each reply that has come; one that the SuperLink fails on harms no other."""
        request = PullAppMessagesRequest(message_ids=message_ids, run_id=self._run_id)
        try:
            found = self._stub.PullMessages(request, **self._options)
        except grpc.RpcError as error:
            if error.code() not in _OF_ONE_REPLY:
                raise
            yield from self._one_by_one(message_ids, error)
            return
        for message, tree in zip(found.messages_list, found.message_object_trees, strict=False):
            yield _Head(message.metadata.reply_to_message_id, message.metadata.message_id, tree)

    def _one_by_one(self, message_ids: Sequence[str], error: grpc.RpcError) -> Iterator[_Head]:
        if len(message_ids) > 1:
            for each in message_ids:
                yield from self.heads([each])
            return
        self._grid.get_node_ids()  # raises where the SuperLink itself is the trouble
        log(WARNING, "reply not handed on by the SuperLink code=%s", error.code())
        yield _Head(message_ids[0])

    def content(self, head: _Head, limits: Limits) -> Content:
        """Return what a reply holds, a `Refusal` where it cannot be used."""
        if head.tree is None:
            return Error(ErrorCode.MESSAGE_UNAVAILABLE, "the SuperLink fails to hand its reply on")
        try:
            return self._content(head.reply_id, head.tree, limits)
        finally:
            self.drop(head)

    def _content(self, reply_id: str, tree: ObjectTree, limits: Limits) -> Content:
        try:
            ids = object_ids(tree, limits)
            contents = self._objects(ids, limits, [] if self._store is None else chunk_ids(tree))
            return inflate(reply_id, contents, limits, self._store)
        except ReplyRefusedError as error:
            return Refusal(str(error), error.why)
        except ObjectUnavailableError:
            return Error(ErrorCode.MESSAGE_UNAVAILABLE, "objects of its reply were never sent")
        except grpc.RpcError as error:
            if error.code() not in _OF_ONE_REPLY:
                raise
            return Error(ErrorCode.MESSAGE_UNAVAILABLE, f"an object of its reply is lost: {error.code()}")
        except Exception as error:  # noqa: BLE001 - whatever a client can cause is that client's
            return Refusal(f"the reply cannot be read ({words_of(error)})", LeftOutCode.UNREADABLE)

    def _objects(self, ids: list[str], limits: Limits, later: list[str]) -> dict[str, bytes]:
        """Pull the objects of a reply, and stop as soon as they are more than the limit.

        Those in `later` are pulled when they are read.
        """
        pull_object = make_pull_object_fn_protobuf(self._stub.PullObject, self._grid.node, self._run_id)
        lock, total, latest = Lock(), 0, time.monotonic()

        def pull_one(object_id: str) -> bytes:
            nonlocal total, latest
            try:
                content = pull_object(object_id)
            except ObjectUnavailableError as error:
                if time.monotonic() - latest > NO_PROGRESS_S:
                    raise ReplyRefusedError("objects of the reply were never sent") from error
                raise
            with lock:
                total, latest = total + len(content), time.monotonic()
                if total > limits.num_bytes:
                    raise ReplyRefusedError(
                        f"the reply is larger than {limits.num_bytes} bytes, the most that is read "
                        f"({LIMIT_VARIABLE})",
                        LeftOutCode.TOO_LARGE,
                    )
            return content

        def pull(wanted: list[str]) -> dict[str, bytes]:
            return pull_objects(wanted, pull_one, initial_backoff=FIRST_PAUSE_S)

        postponed = set(later)
        return _Objects(pull, pull([each for each in ids if each not in postponed]), later)

    def drop(self, head: _Head) -> None:
        """Let the SuperLink drop a reply's objects, whether it was used or not."""
        request = ConfirmMessageReceivedRequest(
            node=self._grid.node, run_id=self._run_id, message_object_id=head.reply_id
        )
        try:
            self._stub.ConfirmMessageReceived(request)
        except grpc.RpcError as error:
            if error.code() not in _OF_ONE_REPLY:
                raise
            log(WARNING, "reply not dropped at the SuperLink reply=%s code=%s", head.reply_id, error.code())


class _Objects(dict[str, bytes]):
    """The objects of a reply by their ids; the later ones are pulled when they are read."""

    def __init__(
        self, pull: Callable[[list[str]], dict[str, bytes]], here: dict[str, bytes], later: list[str]
    ) -> None:
        super().__init__(here)
        self._pull = pull
        self._later = frozenset(later)

    def get(self, key: str, default: Any = None) -> Any:
        if key in self._later and key not in self:
            self.update(self._pull([key]))
        return super().get(key, default)


USE = PrivateUse(
    name="replies",
    why="Pull the replies of a round over the connection that Flower's Grid has: its own `pull_messages` "
    "ends the run on a reply that cannot be read.",
    sources={
        "flwr.server.grid.grpc_grid": {
            "GrpcGrid.__init__": "56e3e411568f",
            "GrpcGrid._stub": "e46c32db8f34",
            "GrpcGrid.pull_messages": "a57ba64065c3",
            "GrpcGrid.get_node_ids": "4a0ee6c6895d",
            "GrpcGrid.run": "bcf05450429e",
        },
        "flwr.common.constant": {
            "ErrorCode": "4889fc3e5b66",
        },
        "flwr.common.inflatable_protobuf_utils": {
            "make_pull_object_fn_protobuf": "ad0c68745d41",
        },
        "flwr.common.inflatable_utils": {
            "ObjectUnavailableError": "e1e7dd1d0197",
            "pull_objects": "5673b3413241",
        },
        "flwr.proto.appio_pb2": {
            "PullAppMessagesRequest": "9cad60e1f1de",
            "PullAppMessagesResponse": "538c9076ed2a",
        },
        "flwr.proto.message_pb2": {
            "ConfirmMessageReceivedRequest": "f015bfb1bea5",
            "ObjectTree": "7ec5ec452c01",
            "Metadata": "d4ed22226a45",
            "Message": "608e62bf8a0f",
        },
    },
)
