"""The ClientApp: sums for the standardisation, local SGD on normal rows, federated evaluation."""

from collections.abc import Iterator, Mapping

import torch
from flwr.app import ArrayRecord, Context, Message
from flwr.clientapp import ClientApp
from torch import Tensor, nn

from anomaly_detection.data import Columns, Rows, client_rows
from anomaly_detection.model import Autoencoder, Layers, row_errors
from oneflower.sdk.client import RoundInfo, set_determinism
from oneflower.sdk.data_source import DataSource
from oneflower.sdk.device import PROCESSOR, device
from oneflower.sdk.options import LocalOptions
from oneflower.sdk.standardise import sums_of
from oneflower.sdk.torch_app import PlainSGD, fit, load_arrays, model_arrays, reply, shuffled

app = ClientApp()


DEFAULTS = LocalOptions(epochs=1, batch_size=64, lr=0.1)


@app.query()
def sums(message: Message, context: Context) -> Message:
    """Return number, mean and squared deviations of this node's rows; the rows stay on the node."""
    training, _ = _rows(context, RoundInfo.from_message(message, context))
    return sums_of(message, training.values.numpy())


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the global model on this node's normal rows and send it back."""
    info = RoundInfo.from_message(message, context)
    rows, _ = _rows(context, info)
    received = message.content.array_records["arrays"]
    arrays, loss = local_training(received, rows, context.run_config, info, on=device())
    return reply(message, {"num-examples": len(rows), "train_loss": loss}, arrays)


def local_training(
    arrays: ArrayRecord,
    rows: Rows,
    run_config: Mapping[str, object],
    info: RoundInfo,
    on: torch.device = PROCESSOR,
) -> tuple[ArrayRecord, float]:
    """Train the model of these arrays on rows, a client's or the server's; return it and the mean loss."""
    shuffling = set_determinism(info.seed, info.round, info.partition_id)
    model = Autoencoder(Layers.from_run_config(run_config)).to(on)
    global_arrays = load_arrays(model, arrays)
    options = DEFAULTS.from_run_config(run_config)
    loss = fit(
        model,
        batches(rows, options, shuffling),
        batch_loss,
        PlainSGD(model.parameters(), lr=info.lr or options.lr),
        global_arrays=global_arrays,
        proximal_mu=info.proximal_mu,
    )
    return model_arrays(model), loss


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the global model on this node's normal validation rows."""
    info = RoundInfo.from_message(message, context)
    _, rows = _rows(context, info)
    set_determinism(info.seed, info.round, info.partition_id)
    model = Autoencoder(Layers.from_run_config(context.run_config)).to(device())
    load_arrays(model, message.content.array_records["arrays"])
    loss = float(row_errors(model, rows.values).mean())
    return reply(message, {"num-examples": len(rows), "eval_loss": loss})


def batches(rows: Rows, options: LocalOptions, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield shuffled batches of rows."""
    for some in shuffled(len(rows), options, generator):
        yield rows.values[some]


def batch_loss(model: nn.Module, rows: Tensor) -> Tensor:
    """Return the mean reconstruction error of a batch."""
    errors: Tensor = model(rows)
    return errors.mean()


def _rows(context: Context, info: RoundInfo) -> tuple[Rows, Rows]:
    source = DataSource.from_config(context.run_config, context.node_config)
    return client_rows(source, Columns.from_run_config(context.run_config), info)
