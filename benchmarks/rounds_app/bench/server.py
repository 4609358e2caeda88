"""A ServerApp that trains with Flower's own loop or with oneflower's, and notes what the Grid does."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Context, Message
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from bench.trace import note

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train `num-server-rounds` rounds with the loop that the run-config names."""
    config = context.run_config
    watch(grid, str(config["trace-path"]))
    note(str(config["trace-path"]), "server_started")
    arrays = initial_arrays(str(config["model"]), int(config["megabytes"]))
    if config["loop"] == "stock":
        nodes = int(config["min-available-clients"])
        FedAvg(min_available_nodes=nodes, min_train_nodes=nodes, min_evaluate_nodes=nodes).start(
            grid=grid, initial_arrays=arrays, num_rounds=int(config["num-server-rounds"])
        )
    else:
        from oneflower.flower import train

        train(grid, context, arrays)
    note(str(config["trace-path"]), "server_ended")


def initial_arrays(model: str, megabytes: int) -> ArrayRecord:
    """Return the model before round 1."""
    if model == "cnn":
        from image_classification.model import ImageShape, initial_model

        from oneflower.flower.torch_app import model_arrays

        return model_arrays(initial_model(ImageShape(size=28, channels=1, num_classes=10), 42))
    rng = np.random.default_rng(0)
    parts = max(1, megabytes // 10)
    size = megabytes * 250_000 // parts or 10
    return ArrayRecord([rng.standard_normal(size, dtype=np.float32) for _ in range(parts)])


def watch(grid: Any, path: str) -> None:
    """Note each message that is pushed and each reply that is pulled."""
    push, pull = grid.push_messages, grid.pull_messages

    def push_messages(messages: Iterable[Message]) -> Iterable[str]:
        sent = list(messages)
        message_ids = list(push(sent))
        for message, message_id in zip(sent, message_ids, strict=True):
            number = message.content.config_records["config"]["server-round"]
            note(path, "pushed", message=message_id, kind=message.metadata.message_type, round=number)
        return message_ids

    def pull_messages(message_ids: Iterable[str]) -> Iterable[Message]:
        replies = list(pull(message_ids))
        for reply in replies:
            note(path, "pulled", message=reply.metadata.reply_to_message_id, error=reply.has_error())
        return replies

    grid.push_messages, grid.pull_messages = push_messages, pull_messages
