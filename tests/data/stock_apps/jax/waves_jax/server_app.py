"""The server."""

import json

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from waves_jax.task import init_params

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    params = {name: Array(np.asarray(value)) for name, value in init_params().items()}
    result = FedAvg().start(
        grid=grid,
        initial_arrays=ArrayRecord(params),
        num_rounds=context.run_config["num-server-rounds"],
    )
    np.savez("final_model.npz", **{name: each.numpy() for name, each in result.arrays.items()})
    losses = [metrics["loss"] for metrics in result.evaluate_metrics_clientapp.values()]
    with open("results.json", "w") as file:
        json.dump({"loss": losses}, file)
