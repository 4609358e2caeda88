"""Train a model of random numbers for a few rounds, with oneflower's rounds or with Flower's own FedAvg."""

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train `num-server-rounds` rounds with all nodes."""
    config = context.run_config
    rng = np.random.default_rng(0)
    size = int(config["values"]) // int(config["arrays"])
    model = ArrayRecord([rng.standard_normal(size, dtype=np.float32) for _ in range(int(config["arrays"]))])
    if config["loop"] == "ours":
        from oneflower.sdk import train

        train(grid, context, model)
        return
    nodes = int(config["min-available-clients"])
    FedAvg(min_available_nodes=nodes, min_train_nodes=nodes, min_evaluate_nodes=nodes).start(
        grid=grid,
        initial_arrays=model,
        num_rounds=int(config["num-server-rounds"]),
        timeout=float(config["limit"]),
    )
