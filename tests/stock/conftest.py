"""Stock Flower apps in one process: their ServerApps under the hooks, their clients behind a LocalGrid."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from oneflower.lab.localgrid import LocalGrid
from oneflower.stock import hooks

Train = Callable[[Message, Context, dict[str, np.ndarray]], tuple[dict[str, np.ndarray], dict[str, Any]]]


def step(message, context, arrays):
    """One local step: towards the client's own point, with noise from the global generators."""
    target = float(context.node_config["partition-id"])
    noise = np.random.normal(size=arrays["w"].shape).astype(np.float32)  # noqa: NPY002 - as apps do
    new = {
        name: (0.5 * array + 0.5 * target + 0.01 * noise).astype(array.dtype)
        if array.dtype.kind == "f"
        else array + 1
        for name, array in arrays.items()
    }
    return new, {"loss": abs(target), "num-examples": 10 + int(target)}


@dataclass
class Stock:
    """One stock app, and how to run it."""

    path: Any
    main: Callable[[Grid, Context], None]
    train: Train = step
    clients: int = 3
    settings: dict[str, Any] = field(default_factory=dict)
    client_app: ClientApp | None = None

    def client(self) -> ClientApp:
        if self.client_app is not None:
            return self.client_app
        app = ClientApp()

        @app.train()
        def train(message: Message, context: Context) -> Message:
            arrays = message.content["arrays"]
            new, metrics = self.train(message, context, {k: a.numpy() for k, a in arrays.items()})
            record = ArrayRecord({name: _array(value) for name, value in new.items()})
            return Message(RecordDict({"arrays": record, "metrics": MetricRecord(metrics)}), reply_to=message)

        @app.evaluate()
        def evaluate(message: Message, context: Context) -> Message:
            loss = float(message.content["arrays"]["w"].numpy().mean())
            return Message(
                RecordDict({"metrics": MetricRecord({"eval_loss": loss, "num-examples": 5})}),
                reply_to=message,
            )

        return app

    def run(self, *, node_ids=None, **settings):
        """Run the app once; it resumes from the checkpoints of a run before."""
        config = {
            "checkpoint-enabled": True,
            "checkpoint-interval": 1,
            "checkpoint-path": str(self.path),
            "checkpoint-keep": 0,
            "round-retries": 0,
            **self.settings,
            **settings,
        }
        server = ServerApp()
        server.main()(self.main)
        grid = LocalGrid(
            self.client(), clients=self.clients, run_config=config, node_ids=node_ids, app="me/stock"
        )
        context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=config)
        with hooks.installed():
            server(grid, context)


def _array(value):
    from flwr.app import Array

    return Array(np.asarray(value))


@pytest.fixture
def stock(tmp_path):
    return lambda main, **options: Stock(path=tmp_path / "checkpoints", main=main, **options)
