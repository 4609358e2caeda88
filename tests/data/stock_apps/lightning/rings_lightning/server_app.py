"""The server."""

import json

import torch
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from rings_lightning.task import LitNet

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    result = FedAvg().start(
        grid=grid,
        initial_arrays=ArrayRecord(LitNet().state_dict()),
        num_rounds=context.run_config["num-server-rounds"],
    )
    torch.save(result.arrays.to_torch_state_dict(), "final_model.pt")
    losses = [metrics["eval_loss"] for metrics in result.evaluate_metrics_clientapp.values()]
    with open("results.json", "w") as file:
        json.dump({"loss": losses}, file)
