"""The server."""

import json

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp

from momentum_app.strategy import FedMomentum

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    strategy = FedMomentum(momentum=context.run_config["server-momentum"])
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord([np.zeros((5, 3))]),
        train_config=ConfigRecord({"lr": 0.1}),
        num_rounds=context.run_config["num-server-rounds"],
    )
    np.savez("final_model.npz", *result.arrays.to_numpy_ndarrays())
    print("best accuracy", strategy.best_accuracy, "in round", strategy.best_round)
    results = {
        "loss": [metrics["eval_loss"] for metrics in result.evaluate_metrics_clientapp.values()],
        "best": strategy.best_round,
        "history": strategy.history,
    }
    with open("results.json", "w") as file:
        json.dump(results, file)
