"""The server."""

import json

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import DifferentialPrivacyClientSideAdaptiveClipping, FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    sampled = config["num-sampled-clients"]
    strategy = DifferentialPrivacyClientSideAdaptiveClipping(
        FedAvg(fraction_train=1.0, min_train_nodes=sampled, min_available_nodes=sampled),
        noise_multiplier=config["noise-multiplier"],
        num_sampled_clients=sampled,
        initial_clipping_norm=2.0,
    )
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord([np.zeros((5, 3))]),
        num_rounds=config["num-server-rounds"],
    )
    np.savez("final_model.npz", *result.arrays.to_numpy_ndarrays())
    losses = [metrics["eval_loss"] for metrics in result.evaluate_metrics_clientapp.values()]
    with open("results.json", "w") as file:
        json.dump({"loss": losses, "clipping norm": strategy.clipping_norm}, file)
