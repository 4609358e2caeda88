"""The ClientApp: local SGD on this node's images, and federated evaluation."""

from collections.abc import Iterator, Mapping

import torch
from flwr.app import ArrayRecord, Context, Message
from flwr.clientapp import ClientApp
from torch import Tensor, nn

from image_classification.data import Images, client_images
from image_classification.model import ImageShape, Net, score
from oneflower.sdk.client import RoundInfo, set_determinism
from oneflower.sdk.data_source import DataSource
from oneflower.sdk.device import PROCESSOR, device
from oneflower.sdk.options import LocalOptions
from oneflower.sdk.torch_app import PlainSGD, fit, load_arrays, model_arrays, reply, shuffled

app = ClientApp()

Batch = tuple[Tensor, Tensor]


DEFAULTS = LocalOptions(epochs=2, batch_size=32, lr=0.05)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the global model on this node's images and send it back."""
    info = RoundInfo.from_message(message, context)
    source = DataSource.from_config(context.run_config, context.node_config)
    images, _ = client_images(source, ImageShape.from_run_config(context.run_config), info)
    received = message.content.array_records["arrays"]
    arrays, loss = local_training(received, images, context.run_config, info, on=device())
    return reply(message, {"num-examples": len(images), "train_loss": loss}, arrays)


def local_training(
    arrays: ArrayRecord,
    images: Images,
    run_config: Mapping[str, object],
    info: RoundInfo,
    on: torch.device = PROCESSOR,
) -> tuple[ArrayRecord, float]:
    """Train the model of these arrays on images, a client's or the server's; return it and the mean loss."""
    shape = ImageShape.from_run_config(run_config)
    shuffling = set_determinism(info.seed, info.round, info.partition_id)
    model = Net(shape).to(on)
    global_arrays = load_arrays(model, arrays)
    options = DEFAULTS.from_run_config(run_config, least_rows=2)
    loss = fit(
        model,
        batches(images, options, shuffling),
        batch_loss,
        PlainSGD(model.parameters(), lr=info.lr or options.lr),
        global_arrays=global_arrays,
        proximal_mu=info.proximal_mu,
    )
    return model_arrays(model), loss


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the global model on this node's validation images."""
    info = RoundInfo.from_message(message, context)
    source = DataSource.from_config(context.run_config, context.node_config)
    shape = ImageShape.from_run_config(context.run_config)
    _, images = client_images(source, shape, info)
    set_determinism(info.seed, info.round, info.partition_id)
    model = Net(shape).to(device())
    load_arrays(model, message.content.array_records["arrays"])
    loss, accuracy = score(model, images.pixels, images.labels)
    return reply(message, {"num-examples": len(images), "eval_loss": loss, "eval_acc": accuracy})


def batches(images: Images, options: LocalOptions, generator: torch.Generator) -> Iterator[Batch]:
    """Yield shuffled batches of one size: a small last batch would distort batch normalisation."""
    for rows in shuffled(len(images), options, generator, whole_batches=True):
        yield images.pixels[rows], images.labels[rows]


def batch_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean cross-entropy of a batch."""
    pixels, labels = batch
    return nn.functional.cross_entropy(model(pixels), labels)
