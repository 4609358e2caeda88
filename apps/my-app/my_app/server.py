"""The ServerApp: initial weights from the run's seed, central evaluation on held-out rows."""

import torch
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp

from my_app.data import load
from my_app.model import new_model, score
from oneflower.sdk import train
from oneflower.sdk.client import set_determinism
from oneflower.sdk.data_source import DataSource
from oneflower.sdk.options import training_config
from oneflower.sdk.torch_app import load_arrays, model_arrays

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train with the strategy, rounds and checkpoints of the FL_* variables."""
    seed = training_config(context.run_config).seed
    set_determinism(seed, 0, 0)
    model = new_model()
    source = DataSource.from_config(context.run_config)
    rows, labels = load(source.folder)
    held_out = torch.from_numpy(source.held_out(len(rows), seed))

    def evaluate(_round: int, arrays: ArrayRecord) -> MetricRecord:
        load_arrays(model, arrays)
        loss, accuracy = score(model, (rows[held_out], labels[held_out]))
        return MetricRecord({"loss": loss, "accuracy": accuracy})

    train(grid, context, model_arrays(model), evaluate=evaluate)
