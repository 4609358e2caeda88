"""The server."""

import json

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from digits_keras.task import load_model

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    model = load_model()
    result = FedAvg().start(
        grid=grid,
        initial_arrays=ArrayRecord(model.get_weights()),
        num_rounds=context.run_config["num-server-rounds"],
    )
    model.set_weights(result.arrays.to_numpy_ndarrays())
    model.save("final_model.keras")
    np.savez("final_model.npz", *model.get_weights())
    losses = [metrics["eval_loss"] for metrics in result.evaluate_metrics_clientapp.values()]
    with open("results.json", "w") as file:
        json.dump({"loss": losses}, file)
