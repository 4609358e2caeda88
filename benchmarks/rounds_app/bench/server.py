"""A ServerApp that trains with Flower's own loop or with oneflower's, and records what the Grid does."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Context, Message
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from bench.trace import note

app = ServerApp()
PATIENCE_S = 60.0
"""Stock Flower loses a message now and then, and would wait for it for an hour."""


class LostMessageError(Exception):
    """A message got no reply; its node may never reply again."""


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train `num-server-rounds` rounds with the loop named in the run-config."""
    config = context.run_config
    trace = str(config["trace-path"])
    if config["loop"] == "stock":
        watch(grid, trace)
    else:
        from oneflower.flower.reply_grid import ReplyGrid

        watch(ReplyGrid, trace)
    note(str(config["trace-path"]), "server_started")
    arrays = initial_arrays(str(config["model"]), int(config["megabytes"]))
    if config["loop"] == "stock":
        nodes = int(config["min-available-clients"])
        FedAvg(min_available_nodes=nodes, min_train_nodes=nodes, min_evaluate_nodes=nodes).start(
            grid=grid,
            initial_arrays=arrays,
            num_rounds=int(config["num-server-rounds"]),
            timeout=PATIENCE_S,
        )
    else:
        from oneflower.sdk import train

        train(grid, context, arrays)
    note(str(config["trace-path"]), "server_ended")


def initial_arrays(model: str, megabytes: int) -> ArrayRecord:
    """Return the model before round 1."""
    if model == "cnn":
        from image_classification.model import ImageShape, initial_model

        from oneflower.sdk.torch_app import model_arrays

        return model_arrays(initial_model(ImageShape(size=28, channels=1, num_classes=10), 42))
    rng = np.random.default_rng(0)
    parts = max(1, megabytes // 10)
    size = megabytes * 250_000 // parts or 10
    return ArrayRecord([rng.standard_normal(size, dtype=np.float32) for _ in range(parts)])


def watch(grid: Any, path: str) -> None:
    """Record each pushed message and each pulled reply of a Grid, or of a class of Grids."""
    pulls = "wait_for_replies" if hasattr(grid, "wait_for_replies") else "pull_messages"  # ours
    push, pull = grid.push_messages, getattr(grid, pulls)
    pending: dict[str, tuple[str, object]] = {}

    def push_messages(*arguments: Any) -> Iterable[str]:
        *grids, messages = arguments
        sent = list(messages)
        phases = {phase_of(message) for message in sent} - {None}
        if phases and any(phase not in phases for phase in pending.values()):
            note(path, "lost", messages=len(pending))
            raise LostMessageError(f"{len(pending)} messages were not answered")
        message_ids = list(push(*grids, sent))
        for message, message_id in zip(sent, message_ids, strict=True):
            phase = phase_of(message)
            if phase is None:
                continue
            pending[message_id] = phase
            kind, number = phase
            note(path, "pushed", message=message_id, kind=kind, round=number)
        return message_ids

    def pull_replies(*arguments: Any) -> Iterator[Message]:
        for reply in pull(*arguments):
            pending.pop(reply.metadata.reply_to_message_id, None)
            note(path, "pulled", message=reply.metadata.reply_to_message_id, error=reply.has_error())
            yield reply

    grid.push_messages = push_messages
    setattr(grid, pulls, pull_replies)


def phase_of(message: Message) -> tuple[str, object] | None:
    """Return the phase (train or evaluate) and the round of a message; None of what is asked before."""
    records = message.content.config_records
    number = records["config"].get("server-round") if "config" in records else None
    return None if number is None else (message.metadata.message_type, number)
