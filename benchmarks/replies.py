"""Pull the reply of one client with a model of 100 MB: Flower's Grid and oneflower's, alternating, over gRPC.

``python benchmarks/replies.py [--megabytes 100] [--arrays 20] [--pulls 9]`` prints medians and their ratio.
The SuperLink is a table of objects in this process, so that only the ServerApp's side is compared.
"""

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.common.grpc import GRPC_MAX_MESSAGE_LENGTH
from flwr.common.inflatable import get_all_nested_objects, get_object_tree
from flwr.common.serde import message_to_proto
from flwr.common.typing import Run
from flwr.proto import appio_pb2, message_pb2
from flwr.proto.serverappio_pb2_grpc import ServerAppIoServicer, add_ServerAppIoServicer_to_server
from flwr.server.grid.grpc_grid import GrpcGrid

from oneflower.flower.reply_grid import ReplyGrid


class Table(ServerAppIoServicer):
    """A SuperLink that takes every message and has one reply to each."""

    def __init__(self, reply: Message) -> None:
        reply.metadata.__dict__["_message_id"] = self.head = reply.object_id
        self.objects = {key: each.deflate() for key, each in get_all_nested_objects(reply).items()}
        self.tree = get_object_tree(reply)
        self.wire = message_to_proto(reply)
        self.wire.content.Clear()
        self.wire.content.SetInParent()

    def PushMessages(self, request, context):  # noqa: ANN001, ANN201, ARG002, N802, D102
        ids = [message.metadata.message_id for message in request.messages_list]
        return appio_pb2.PushAppMessagesResponse(message_ids=ids)

    def PullMessages(self, request, context):  # noqa: ANN001, ANN201, ARG002, N802, D102
        found = appio_pb2.PullAppMessagesResponse()
        for message_id in request.message_ids:
            head = found.messages_list.add()
            head.CopyFrom(self.wire)
            head.metadata.reply_to_message_id = message_id
            found.message_object_trees.append(self.tree)
        return found

    def PullObject(self, request, context):  # noqa: ANN001, ANN201, ARG002, N802, D102
        content = self.objects[request.object_id]
        return message_pb2.PullObjectResponse(
            object_found=True, object_available=True, object_content=content
        )

    def ConfirmMessageReceived(self, request, context):  # noqa: ANN001, ANN201, ARG002, N802, D102
        return message_pb2.ConfirmMessageReceivedResponse()


def model(megabytes: int, arrays: int) -> RecordDict:
    """Return the content of a message with this many bytes."""
    rng, size = np.random.default_rng(1), megabytes * 250_000 // arrays
    record = ArrayRecord({f"w{i}": Array(rng.normal(size=size).astype(np.float32)) for i in range(arrays)})
    return RecordDict({"arrays": record, "metrics": MetricRecord({"num-examples": 10})})


def main() -> None:
    """Print how long a pull takes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--arrays", type=int, default=20)
    parser.add_argument("--pulls", type=int, default=9)
    given = parser.parse_args()
    content = model(given.megabytes, given.arrays)
    table = Table(Message(content, reply_to=Message(RecordDict(), 5, "train")))
    unlimited = [(f"grpc.max_{way}_message_length", GRPC_MAX_MESSAGE_LENGTH) for way in ("send", "receive")]
    server = grpc.server(ThreadPoolExecutor(8), options=unlimited)
    add_ServerAppIoServicer_to_server(table, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    stock = GrpcGrid(f"127.0.0.1:{port}")
    stock._run = Run.create_empty(run_id=1)  # noqa: SLF001 - the table has no runs
    ours = ReplyGrid(stock)
    seconds: dict[str, list[float]] = {"flower": [], "oneflower": []}
    for _ in range(given.pulls):
        for name, grid in (("flower", stock), ("oneflower", ours)):
            (message_id,) = grid.push_messages([Message(content, 5, "train")])
            started = time.perf_counter()
            (found,) = grid.pull_messages([message_id])
            seconds[name].append(time.perf_counter() - started)
            assert found.content == content, name
    server.stop(0)
    flower, oneflower = (statistics.median(each) for each in seconds.values())
    print(f"{given.megabytes} MB in {given.arrays} arrays, medians of {given.pulls} pulls")
    print(f"flower {flower:.3f} s, oneflower {oneflower:.3f} s, ratio {oneflower / flower:.2f}")


if __name__ == "__main__":
    main()
