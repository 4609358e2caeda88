"""The ServerApp: initial weights from the run's seed, central evaluation on held-out images."""

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp

from image_classification.data import Source, held_out_images
from image_classification.model import ImageShape, Net, initial_model, score
from oneflower.flower import train
from oneflower.flower.options import option
from oneflower.flower.torch_app import load_arrays, model_arrays

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train with the strategy, the rounds and the checkpoints that the run-config names."""
    shape = ImageShape.from_run_config(context.run_config)
    seed = option(context.run_config, "seed", 42, at_least=0)
    images = held_out_images(Source.from_config(context.run_config), seed)

    def evaluate(_round: int, arrays: ArrayRecord) -> MetricRecord:
        model = Net(shape)
        load_arrays(model, arrays)
        loss, accuracy = score(model, images.pixels, images.labels)
        return MetricRecord({"loss": loss, "accuracy": accuracy})

    train(grid, context, model_arrays(initial_model(shape, seed)), evaluate=evaluate)
