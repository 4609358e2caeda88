"""The ClientApp: local training on this node's rows, and evaluation."""

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from my_app.data import Batch, load
from my_app.model import loss_of, new_model, score
from oneflower.sdk.client import RoundInfo, set_determinism
from oneflower.sdk.data_source import DataSource
from oneflower.sdk.device import device
from oneflower.sdk.options import LocalOptions
from oneflower.sdk.torch_app import fit, load_arrays, model_arrays, reply, shuffled

app = ClientApp()

DEFAULTS = LocalOptions(epochs=2, batch_size=32, lr=0.1)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the global model on this node's rows and send it back."""
    info = RoundInfo.from_message(message, context)
    (rows, labels), _ = my_rows(context, info)
    options = DEFAULTS.from_run_config(context.run_config)
    generator = set_determinism(info.seed, info.round, info.partition_id)
    model = new_model().to(device())  # a GPU with FL_GPU_ENABLED=YES, else the processor
    global_arrays = load_arrays(model, message.content.array_records["arrays"])
    loss = fit(
        model,
        ((rows[some], labels[some]) for some in shuffled(len(rows), options, generator)),
        loss_of,
        torch.optim.SGD(model.parameters(), lr=info.lr or options.lr),
        global_arrays=global_arrays,
        proximal_mu=info.proximal_mu,  # FedProx: fit adds the proximal term
    )
    return reply(message, {"num-examples": len(rows), "train_loss": loss}, model_arrays(model))


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the global model on this node's validation rows."""
    info = RoundInfo.from_message(message, context)
    _, validation = my_rows(context, info)
    model = new_model().to(device())
    load_arrays(model, message.content.array_records["arrays"])
    loss, accuracy = score(model, validation)
    return reply(message, {"num-examples": len(validation[1]), "eval_loss": loss, "eval_acc": accuracy})


def my_rows(context: Context, info: RoundInfo) -> tuple[Batch, Batch]:
    """Return this node's (training, validation) rows."""
    source = DataSource.from_config(context.run_config, context.node_config)
    rows, labels = load(source.folder)
    training, validation = map(torch.from_numpy, source.local(labels.numpy(), info))
    return (rows[training], labels[training]), (rows[validation], labels[validation])
