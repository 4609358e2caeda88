"""The app of benchmarks/injected_faults.py: three rounds, with a fault in the second."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from oneflower.flower.grid import RoundGrid

Exchange = Callable[[list[Message], float], list[Message]]

server, client = ServerApp(), ClientApp()
FAULTY_ROUND = 2
LATE_OBJECT_S = 4.0


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Record the duration of each round and the number of replies."""
    config = context.run_config
    while len(nodes := sorted(grid.get_node_ids())) < int(config["nodes"]):
        time.sleep(0.1)
    exchange = ours(grid) if config["loop"] == "ours" else stock(grid)
    for number in (1, 2, 3):
        if number == FAULTY_ROUND:
            Path(f"{config['results']}.fault").touch()
            if config["fault"] == "B2":
                delay_objects(grid)
        about = ConfigRecord({"round": number, "fault": config["fault"]})
        arrays = ArrayRecord([np.full(100_000, number, dtype=np.float32)])
        messages = [Message(RecordDict({"arrays": arrays, "about": about}), node, "train") for node in nodes]
        started = time.monotonic()
        replies = exchange(messages, float(config["timeout"]))
        line = {"round": number, "seconds": time.monotonic() - started}
        line["answers"] = sum(not reply.has_error() for reply in replies)
        line["errors"] = sum(reply.has_error() for reply in replies)
        with Path(str(config["results"])).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def stock(grid: Grid) -> Exchange:
    """Return a function that exchanges messages with Flower's own Grid."""
    return lambda messages, timeout: list(grid.send_and_receive(messages, timeout=timeout))


def ours(grid: Grid) -> Exchange:
    """Return the same with oneflower's Grid, and a quorum of all nodes but one."""
    wrapped = RoundGrid(grid)

    def exchange(messages: list[Message], timeout: float) -> list[Message]:
        answers: list[Message] = []

        def enough() -> bool:
            return sum(not answer.has_error() for answer in answers) >= len(messages) - 1

        for reply in wrapped.exchange(messages, timeout_s=timeout, enough=enough):
            answers.append(reply.message)  # noqa: PERF401 - enough() reads the list in the meantime
        return answers

    return exchange


def delay_objects(grid: Any) -> None:
    """Delay the first object of the next message, as happens with a large model."""
    stub = grid._stub  # noqa: SLF001 - there is no public way to inject this fault
    push, late = stub.PushObject, [True]

    def push_object(request: Any, **options: Any) -> Any:
        if late and late.pop():
            time.sleep(LATE_OBJECT_S)
        return push(request, **options)

    stub.PushObject = push_object


@client.train()
def train(message: Message, context: Context) -> Message:
    """Reply with the same arrays as every other node, or die."""
    about = message.content["about"]
    if about["fault"] == "B1" and about["round"] == FAULTY_ROUND and context.node_config["partition-id"] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    arrays = ArrayRecord([np.full(100_000, -int(about["round"]), dtype=np.float32)])
    content = RecordDict({"arrays": arrays, "metrics": MetricRecord({"n": 1})})
    return Message(content, reply_to=message)
