"""The server."""

import json

import numpy as np
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp

from scaffold_app.strategy import Scaffold
from scaffold_app.task import load_data
from scaffold_app.task import test as test_fn

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    result = Scaffold((5, 3), fraction_evaluate=0.0).start(
        grid=grid,
        initial_arrays=ArrayRecord([np.zeros((5, 3))]),
        num_rounds=context.run_config["num-server-rounds"],
        evaluate_fn=central,
    )
    np.savez("final_model.npz", *result.arrays.to_numpy_ndarrays())
    losses = [metrics["loss"] for metrics in result.evaluate_metrics_serverapp.values()]
    with open("results.json", "w") as file:
        json.dump({"loss": losses}, file)


def central(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    loss, accuracy = test_fn(arrays.to_numpy_ndarrays()[0], *load_data(1000))
    return MetricRecord({"loss": loss, "accuracy": accuracy})
