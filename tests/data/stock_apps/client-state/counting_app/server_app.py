"""The server."""

import json

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    result = FedAvg(fraction_evaluate=0.0).start(
        grid=grid,
        initial_arrays=ArrayRecord([np.zeros((5, 3))]),
        num_rounds=context.run_config["num-server-rounds"],
    )
    np.savez("final_model.npz", *result.arrays.to_numpy_ndarrays())
    rows = list(result.train_metrics_clientapp.values())
    with open("results.json", "w") as file:
        json.dump(
            {"loss": [row["train_loss"] for row in rows], "rounds": [row["rounds"] for row in rows]}, file
        )
