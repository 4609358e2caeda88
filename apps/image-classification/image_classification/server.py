"""The ServerApp: initial weights from the run's seed, central evaluation on held-out images."""

from collections.abc import Callable
from logging import INFO, WARNING

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.common import log
from flwr.serverapp import Grid, ServerApp

from image_classification.data import held_out_images, mnist_file
from image_classification.model import ImageShape, Net, initial_model, score
from oneflower.sdk import train
from oneflower.sdk.data_source import DataSource
from oneflower.sdk.options import training_config
from oneflower.sdk.torch_app import load_arrays, model_arrays

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train with the strategy, the rounds and the checkpoints that the run-config names."""
    shape = ImageShape.from_run_config(context.run_config)
    seed = training_config(context.run_config).seed
    evaluate = evaluation(DataSource.from_config(context.run_config), shape, seed)
    train(grid, context, model_arrays(initial_model(shape, seed)), evaluate=evaluate)


def evaluation(
    source: DataSource, shape: ImageShape, seed: int
) -> Callable[[int, ArrayRecord], MetricRecord] | None:
    """Return the central evaluation, or None if this machine has no images."""
    if source.folder is None and mnist_file() is None:
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
