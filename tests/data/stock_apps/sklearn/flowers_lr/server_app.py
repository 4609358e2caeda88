"""The server."""

import json

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from flowers_lr.task import create_model, get_params, set_params

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    model = create_model(context.run_config["penalty"], context.run_config["local-epochs"])
    strategy = FedAvg(fraction_train=1.0, fraction_evaluate=1.0)
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(get_params(model)),
        num_rounds=context.run_config["num-server-rounds"],
    )
    set_params(model, result.arrays.to_numpy_ndarrays())
    np.savez("logreg_model.npz", coef=model.coef_, intercept=model.intercept_)
    losses = [metrics["test_logloss"] for metrics in result.evaluate_metrics_clientapp.values()]
    with open("results.json", "w") as file:
        json.dump({"loss": losses}, file)
