"""The ClientApp: sums for the standardisation, local SGD on this node's rows, federated evaluation."""

from collections.abc import Iterator, Mapping

import numpy as np
from flwr.app import ArrayRecord, Context, Message
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from oneflower.sdk.client import RoundInfo, derived_seed
from oneflower.sdk.data_source import DataSource
from oneflower.sdk.options import LocalOptions
from oneflower.sdk.replies import reply
from oneflower.sdk.standardise import sums_of
from tabular_classification.data import Columns, Rows, client_rows
from tabular_classification.model import Classifier, Layers

app = ClientApp()

DEFAULTS = LocalOptions(epochs=2, batch_size=16, lr=0.05)


@app.query()
def sums(message: Message, context: Context) -> Message:
    """Return number, mean and squared deviations of this node's rows; the rows stay on the node."""
    training, _ = _rows(context, RoundInfo.from_message(message, context))
    return sums_of(message, training.values)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the global model on this node's rows and send it back."""
    info = RoundInfo.from_message(message, context)
    rows, _ = _rows(context, info)
    arrays, loss = local_training(message.content.array_records["arrays"], rows, context.run_config, info)
    return reply(message, {"num-examples": len(rows), "train_loss": loss}, arrays)


def local_training(
    arrays: ArrayRecord, rows: Rows, run_config: Mapping[str, object], info: RoundInfo
) -> tuple[ArrayRecord, float]:
    """Train the model of these arrays on rows, a client's or the server's; return it and the mean loss."""
    options = DEFAULTS.from_run_config(run_config)
    lr = info.lr or options.lr
    model = Classifier(Layers.from_run_config(run_config), arrays, lr)
    loss = model.fit(rows, batches(len(rows), options, info), lr=lr, proximal_mu=info.proximal_mu)
    return model.arrays, loss


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the global model on this node's validation rows."""
    info = RoundInfo.from_message(message, context)
    _, rows = _rows(context, info)
    model = Classifier(Layers.from_run_config(context.run_config), message.content.array_records["arrays"])
    loss, accuracy, _ = model.score(rows)
    return reply(message, {"num-examples": len(rows), "eval_loss": loss, "eval_acc": accuracy})


def batches(count: int, options: LocalOptions, info: RoundInfo) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each batch, in a new order every epoch, fixed by seed, round and partition."""
    rng = np.random.default_rng(derived_seed(info.seed, info.round, info.partition_id))
    for _ in range(options.epochs):
        order = rng.permutation(count)
        for start in range(0, count, options.batch_size):
            yield order[start : start + options.batch_size]


def _rows(context: Context, info: RoundInfo) -> tuple[Rows, Rows]:
    source = DataSource.from_config(context.run_config, context.node_config)
    return client_rows(source, Columns.from_run_config(context.run_config), info)
