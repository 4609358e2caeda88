"""The server."""

import json

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    arrays = ArrayRecord([np.zeros(5), np.zeros(1)])
    result = FedAvg().start(
        grid=grid, initial_arrays=arrays, num_rounds=context.run_config["num-server-rounds"]
    )
    np.savez("final_model.npz", *result.arrays.to_numpy_ndarrays())
    losses = [metrics["loss"] for metrics in result.evaluate_metrics_clientapp.values()]
    with open("results.json", "w") as file:
        json.dump({"loss": losses}, file)
