"""The server."""

import json

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedMedian

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    result = FedMedian().start(
        grid=grid,
        initial_arrays=ArrayRecord([np.zeros((5, 3))]),
        num_rounds=context.run_config["num-server-rounds"],
    )
    np.savez("final_model.npz", *result.arrays.to_numpy_ndarrays())
    results = {
        "loss": [metrics["eval_loss"] for metrics in result.evaluate_metrics_clientapp.values()],
        "calls": [metrics["calls"] for metrics in result.train_metrics_clientapp.values()],
    }
    with open("results.json", "w") as file:
        json.dump(results, file)
