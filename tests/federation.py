"""A small federation without processes: a NumPy app under the real round loop and the real store."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common import Array

from oneflower.flower.grid import RoundGrid
from oneflower.lab.localgrid import LocalGrid
from oneflower.training.train import train


def initial_arrays():
    """Return a model with what real ones have: a matrix, a vector, and a 0-d integer counter."""
    rng = np.random.default_rng(7)
    return ArrayRecord(
        {
            "weight": Array(rng.normal(size=(6, 4)).astype(np.float32)),
            "bias": Array(np.zeros(4, np.float32)),
            "bn.num_batches_tracked": Array(np.array(0, np.int64)),
        }
    )


def local_update(message, context):
    """Move each float array towards this partition's own target: a function of seed, round and partition."""
    config = message.content["config"]
    partition = context.node_config["partition-id"]
    updated = moved(message.content["arrays"], config["seed"], config["server-round"], partition, config)
    return updated, {"num-examples": 10 + partition, "train_loss": float(partition)}


def root_update(server_round, arrays):
    """Train as the first partition does: the server's own update, for FLTrust."""
    return ArrayRecord(moved(arrays, 3, server_round, 0))


def moved(arrays, seed, server_round, partition, config=MappingProxyType({})):
    """Return the arrays after a training on the data of a partition."""
    rng = np.random.default_rng([seed, server_round, partition])
    lr, mu = config.get("lr", 0.5), config.get("proximal-mu", 0.0)
    updated = {}
    for name, array in arrays.items():
        values = array.numpy()
        if values.dtype.kind == "f":
            target = np.full_like(values, partition) + rng.normal(scale=0.01, size=values.shape)
            step = lr * (target - values) / (1 + mu)
            updated[name] = Array((values + step).astype(values.dtype))
        else:
            updated[name] = Array(np.asarray(values + 1))
    return updated


def local_loss(_server_round, arrays):
    """Evaluate on a client."""
    return {"num-examples": 10, "eval_loss": float(np.square(arrays["weight"].numpy()).mean())}


def numpy_app(update: Callable = local_update, evaluation: Callable = local_loss) -> ClientApp:
    """Return the ClientApp whose training is `update`; an evaluation may return metrics or a whole reply."""
    app = ClientApp()

    @app.train()
    def _(message: Message, context: Context) -> Message:
        arrays, metrics = update(message, context)
        content = RecordDict({"arrays": ArrayRecord(arrays), "metrics": MetricRecord(metrics)})
        return Message(content, reply_to=message)

    @app.evaluate()
    def _(message: Message, context: Context) -> Message:
        said = evaluation(message.content["config"]["server-round"], message.content["arrays"])
        content = said if isinstance(said, RecordDict) else RecordDict({"metrics": MetricRecord(said)})
        return Message(content, reply_to=message)

    return app


def central_loss(server_round, arrays):
    """Evaluate centrally, as an app's server does."""
    return MetricRecord({"loss": float(np.abs(arrays["weight"].numpy() - 1).mean()), "round": server_round})


@dataclass
class Federation:
    """Runs trainings of the NumPy app; every run is a new ServerApp over the same folder."""

    folder: object
    clients: int = 3
    settings: dict = field(default_factory=dict)
    app: ClientApp = field(default_factory=numpy_app)
    grid: object = None
    root_update: Callable | None = root_update

    def run_config(self, **settings):
        base = {
            "num-server-rounds": 4,
            "min-available-clients": self.clients,
            "min-fit-clients": self.clients,
            "min-evaluate-clients": self.clients,
            "checkpoint-enabled": True,
            "checkpoint-interval": 1,
            "checkpoint-path": str(self.folder),
            "seed": 3,
        }
        return {**base, **self.settings, **settings}

    def train(self, evaluate=central_loss, grid=None, arrays=None, **settings):
        """Train once; keyword arguments are run-config keys with underscores."""
        run_config = self.run_config(**{key.replace("_", "-"): value for key, value in settings.items()})
        context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=run_config)
        inner = grid or LocalGrid(self.app, clients=self.clients, run_config=run_config, app="test/numpy")
        quiet = RoundGrid(inner, sleep=lambda seconds: None)
        return train(quiet, context, arrays or initial_arrays(), evaluate, root_update=self.root_update)
