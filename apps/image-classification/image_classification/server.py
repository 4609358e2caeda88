"""The ServerApp: initial weights from the run's seed, central evaluation on held-out images."""

from collections.abc import Callable, Mapping
from logging import INFO, WARNING

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.common import log
from flwr.serverapp import Grid, ServerApp

from image_classification.client import local_training
from image_classification.data import held_out_images, mnist_file, root_images
from image_classification.model import ImageShape, Net, initial_model, score
from oneflower.sdk import train
from oneflower.sdk.client import RoundInfo
from oneflower.sdk.data_source import DataSource
from oneflower.sdk.options import training_config
from oneflower.sdk.torch_app import load_arrays, model_arrays

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train with the strategy, the rounds and the checkpoints that the run-config names."""
    shape = ImageShape.from_run_config(context.run_config)
    config = training_config(context.run_config)
    source = DataSource.from_config(context.run_config, root_half=config.rule.needs_root)
    train(
        grid,
        context,
        model_arrays(initial_model(shape, config.seed)),
        evaluate=evaluation(source, shape, config.seed),
        root_update=root_training(source, context.run_config, config.seed) if source.root_half else None,
    )


def evaluation(
    source: DataSource, shape: ImageShape, seed: int
) -> Callable[[int, ArrayRecord], MetricRecord] | None:
    """Return the central evaluation, or None if this machine has no images."""
    if not _has_images(source):
        log(WARNING, "no images on the server: there is only client evaluation")
        return None
    images = held_out_images(source, shape, seed)
    log(INFO, "central evaluation images=%d from=%s", len(images), source.folder or "MNIST-5k")

    def evaluate(_round: int, arrays: ArrayRecord) -> MetricRecord:
        model = Net(shape)
        load_arrays(model, arrays)
        loss, accuracy = score(model, images.pixels, images.labels)
        return MetricRecord({"loss": loss, "accuracy": accuracy})

    return evaluate


def root_training(
    source: DataSource, run_config: Mapping[str, object], seed: int
) -> Callable[[int, ArrayRecord], ArrayRecord] | None:
    """Return the server's own training for FL_STRATEGY=FLTrust, or None if this machine has no images."""
    if not _has_images(source):
        return None
    images = root_images(source, ImageShape.from_run_config(run_config), seed)
    log(INFO, "root data images=%d from=%s", len(images), source.folder or "MNIST-5k")

    def root_update(number: int, arrays: ArrayRecord) -> ArrayRecord:
        return local_training(arrays, images, run_config, RoundInfo.on_server(number, seed))[0]

    return root_update


def _has_images(source: DataSource) -> bool:
    return source.folder is not None or mnist_file() is not None
