"""Many light SuperNodes in one process: Flower's Fleet API with real keys, signatures and transfers, no app.

``python benchmarks/light_nodes.py HOST:PORT --nodes 500 --values 100000 --arrays 4 --report FILE``

Each node registers, asks for messages, pulls every object of one, and pushes a reply with arrays of its own,
as a SuperNode does. Calls are those of Flower 1.25.0. The report is written every two seconds, as JSON.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from flwr.common import ArrayRecord, Message, MetricRecord, RecordDict, now
from flwr.common.inflatable import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.common.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto import fab_pb2, fleet_pb2, heartbeat_pb2, message_pb2, run_pb2
from flwr.proto.fleet_pb2_grpc import FleetStub
from flwr.proto.node_pb2 import Node
from flwr.supercore.primitives.asymmetric import generate_key_pairs, public_key_to_bytes, sign_message

from oneflower.flower.v1_25.bundles import ask, attach, attached

HEARTBEAT_S = 30.0
"""As Flower's SuperNode has it; a node counts as online for twice as long."""
POLL_S = 3.0
QUICK_S = 0.1
"""A held call is followed by the next one at once; a server that holds none is asked each three seconds."""
AT_ONCE = 2
"""Objects that a SuperNode moves at a time."""
STARTING = 20
"""Nodes that register at a time."""
PATIENCE_S = 600.0
TEMPORARY = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}
MOST_BYTES = 512 << 20


class Report:
    """What the nodes of this process have done."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.counts: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.slowest: dict[str, float] = {}
        self.staying: list[str] = []

    def took(self, call: str, seconds: float) -> None:
        """Count a call."""
        self.calls[call] += 1
        self.slowest[call] = max(seconds, self.slowest.get(call, 0.0))

    def write(self) -> None:
        """Write the counts, whole or not at all."""
        found = {
            "counts": self.counts,
            "calls": self.calls,
            "errors": dict(self.errors.most_common(10)),
            "slowest": self.slowest,
            "staying": self.staying,
            "cpu_s": time.process_time(),
        }
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(found), encoding="utf-8")
        fresh.replace(self._path)


class LightNode:
    """One node: a key, a connection, and the calls of a SuperNode."""

    def __init__(self, options: argparse.Namespace, number: int, report: Report) -> None:
        self._options = options
        self._number = number
        self.stays = number % 10 != 0 or not options.churn
        self._report = report
        self._private, public = generate_key_pairs()
        self._key = public_key_to_bytes(public)
        size = ("grpc.max_send_message_length", MOST_BYTES), ("grpc.max_receive_message_length", MOST_BYTES)
        # Nodes of one process would share a connection.
        settings = [*size, ("grpc.use_local_subchannel_pool", 1)]
        if options.ca:
            trusted = grpc.ssl_channel_credentials(options.ca.read_bytes())
            self._channel = grpc.aio.secure_channel(options.address, trusted, options=settings)
        else:
            self._channel = grpc.aio.insecure_channel(options.address, options=settings)
        self._fleet = FleetStub(self._channel)
        self._node = Node()
        self._known: set[int] = set()
        self._replies = 0
        self._headers: list[tuple[str, Any]] = []
        self._signed_until = 0.0

    async def join(self) -> None:
        """Register and activate this node."""
        await self._call("RegisterNode", fleet_pb2.RegisterNodeFleetRequest(public_key=self._key))
        request = fleet_pb2.ActivateNodeRequest(public_key=self._key, heartbeat_interval=HEARTBEAT_S)
        self._node = Node(node_id=(await self._call("ActivateNode", request)).node_id)
        self._report.counts["active"] += 1
        if self.stays:
            self._report.staying.append(str(self._node.node_id))

    async def leave(self) -> None:
        """Deactivate this node and close its connection, as a SuperNode that is stopped."""
        request = fleet_pb2.DeactivateNodeRequest(node_id=self._node.node_id)
        with contextlib.suppress(grpc.RpcError):
            await self._call("DeactivateNode", request)
        await self._channel.close()
        self._report.counts["active"] -= 1

    async def beat(self) -> None:
        """Send heartbeats for ever."""
        while True:
            await asyncio.sleep(HEARTBEAT_S * random.uniform(0.8, 0.95))  # noqa: S311
            request = heartbeat_pb2.SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=HEARTBEAT_S)
            with contextlib.suppress(grpc.RpcError):
                await self._call("SendNodeHeartbeat", request, 10.0)

    async def work(self) -> None:
        """Answer messages for ever."""
        while True:
            began = time.monotonic()
            request = fleet_pb2.PullMessagesRequest(node=self._node)
            if not self._options.single:
                ask(request)
            answer = await self._patient("PullMessages", request)
            if not answer.messages_list:
                held = time.monotonic() - began
                await asyncio.sleep(QUICK_S if held > 1.0 else POLL_S)
                continue
            self._report.counts["messages"] += 1
            try:
                await self._answer(answer)
                self._report.counts["replies"] += 1
            except (grpc.RpcError, ValueError, RuntimeError) as error:
                self._report.errors[f"message dropped: {_words(error)}"] += 1
                self._report.counts["dropped"] += 1

    async def _answer(self, answer: Any) -> None:
        message, tree = message_from_proto(answer.messages_list[0]), answer.message_object_trees[0]
        run = message.metadata.run_id
        if run not in self._known:
            known = await self._patient("GetRun", run_pb2.GetRunRequest(node=self._node, run_id=run))
            request = fab_pb2.GetFabRequest(node=self._node, hash_str=known.run.fab_hash, run_id=run)
            await self._patient("GetFab", request)
            self._known.add(run)
        gate = asyncio.Semaphore(AT_ONCE)
        ids = {each.object_id for each in iterate_object_tree(tree)} - attached(answer).keys()
        await asyncio.gather(*(self._pull(gate, run, each) for each in ids))
        await self._patient(
            "ConfirmMessageReceived",
            message_pb2.ConfirmMessageReceivedRequest(
                node=self._node, run_id=run, message_object_id=message.metadata.message_id
            ),
        )
        if self._options.work:
            await asyncio.sleep(self._options.work * random.uniform(0.5, 1.5))  # noqa: S311
        await self._push(gate, run, self._reply(message))

    async def _pull(self, gate: asyncio.Semaphore, run: int, object_id: str) -> None:
        request = message_pb2.PullObjectRequest(node=self._node, run_id=run, object_id=object_id)
        pause_s = 0.02
        async with gate:
            while True:
                answer = await self._patient("PullObject", request)
                if answer.object_found and answer.object_available:
                    return
                if not answer.object_found:
                    raise RuntimeError("an object of the message is gone")
                self._report.counts["not yet available"] += 1
                await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311
                pause_s = min(2 * pause_s, 10.0)

    def _reply(self, message: Message) -> Message:
        self._replies += 1
        metrics = {"num-examples": 10, "loss": self._number + self._replies / 1000}
        content = RecordDict({"metrics": MetricRecord(metrics)})
        if message.metadata.message_type == "train":
            rng = np.random.default_rng((self._number, self._replies))
            size = self._options.values // self._options.arrays
            arrays = [rng.standard_normal(size, dtype=np.float32) for _ in range(self._options.arrays)]
            content["arrays"] = ArrayRecord(arrays)
        return Message(content, reply_to=message)

    async def _push(self, gate: asyncio.Semaphore, run: int, reply: Message) -> None:
        with no_object_id_recompute():
            reply.metadata.__dict__["_message_id"] = reply.object_id
            contents = {key: each.deflate() for key, each in get_all_nested_objects(reply).items()}
            tree = get_object_tree(reply)
            proto = message_to_proto(remove_content_from_message(reply))
        request = fleet_pb2.PushMessagesRequest(
            node=self._node,
            messages_list=[proto],
            message_object_trees=[tree],
            clientapp_runtime_list=[0.1],
        )
        if not self._options.single:
            attach(request, contents.items())
        answer = await self._patient("PushMessages", request)

        async def push(object_id: str) -> None:
            request = message_pb2.PushObjectRequest(
                node=self._node, run_id=run, object_id=object_id, object_content=contents[object_id]
            )
            async with gate:
                stored = (await self._patient("PushObject", request)).stored
            self._report.counts["objects refused"] += not stored

        await asyncio.gather(*map(push, set(answer.objects_to_push)))

    async def _patient(self, name: str, request: Any) -> Any:
        """Call, and try again after a refusal or a lost connection, as Flower's SuperNode does."""
        pause_s = 1.0
        while True:
            try:
                return await self._call(name, request)
            except grpc.RpcError as error:
                if error.code() not in TEMPORARY:
                    raise
            await asyncio.sleep(pause_s * random.uniform(0.0, 1.0))  # noqa: S311
            pause_s = min(2 * pause_s, 20.0)

    async def _call(self, name: str, request: Any, timeout_s: float = PATIENCE_S) -> Any:
        began = time.monotonic()
        metadata = self._signed(began)
        try:
            return await getattr(self._fleet, name)(request, metadata=metadata, timeout=timeout_s)
        except grpc.RpcError as error:
            self._report.errors[f"{name}: {_words(error)}"] += 1
            raise
        finally:
            self._report.took(name, time.monotonic() - began)

    def _signed(self, time_now: float) -> list[tuple[str, Any]]:
        """Return the headers that say whose call it is; they are kept for some seconds, as ours keep them."""
        if time_now >= self._signed_until:
            stamp = now().isoformat()
            self._headers = [
                ("flwr-public-key-bin", self._key),
                ("flwr-timestamp", stamp),
                ("flwr-signature-bin", sign_message(self._private, stamp.encode())),
            ]
            self._signed_until = time_now + self._options.signature_s
        return self._headers


def _words(error: Any) -> str:
    if isinstance(error, grpc.RpcError):
        return f"{error.code().name}: {error.details()}"[:160]
    return f"{type(error).__name__}: {error}"[:160]


async def live(node: LightNode, gate: asyncio.Semaphore, there_s: float) -> None:
    """Join and work; with `there_s`, leave after so many seconds."""
    async with gate:
        await node.join()
    beating = asyncio.create_task(node.beat())
    working = asyncio.create_task(node.work())
    try:
        await asyncio.wait([working], timeout=there_s or None)
        if working.done():
            working.result()
    finally:
        beating.cancel()
        working.cancel()
    await node.leave()


async def main() -> None:
    """Run the nodes until SIGTERM."""
    options = parse()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    report, gate = Report(options.report), asyncio.Semaphore(STARTING)

    async def keep(number: int) -> None:
        while True:
            node = LightNode(options, number, report)
            there_s = 0.0 if node.stays else options.churn * random.uniform(0.5, 1.5)  # noqa: S311
            await live(node, gate, there_s)

    tasks = [asyncio.create_task(keep(options.first + each)) for each in range(options.nodes)]
    while not stop.is_set():
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stop.wait(), 2.0)
        for task in tasks:
            if task.done() and task.exception() is not None:
                report.errors[f"node ended: {_words(task.exception())}"] = 1
        report.write()
    os._exit(0)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", help="HOST:PORT of the SuperLink's Fleet API")
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="number of the first node: its seed")
    parser.add_argument("--values", type=int, default=100_000, help="float32 values of the model")
    parser.add_argument("--arrays", type=int, default=4, help="arrays that hold them")
    parser.add_argument("--work", type=float, default=0.0, help="seconds that a training takes")
    parser.add_argument(
        "--signature-s", type=float, default=10.0, help="0: sign each call, as Flower's nodes"
    )
    parser.add_argument("--single", action="store_true", help="a call for each object, as Flower's nodes")
    parser.add_argument("--churn", type=float, default=0.0, help="each tenth node lives for so many seconds")
    parser.add_argument("--ca", type=Path, help="the SuperLink's CA: speak TLS")
    parser.add_argument("--report", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main())
