"""The server."""

import json

import torch
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from images_bn.task import Net, load_data

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    torch.manual_seed(0)
    result = FedAvg(fraction_evaluate=0.0).start(
        grid=grid,
        initial_arrays=ArrayRecord(Net().state_dict()),
        num_rounds=context.run_config["num-server-rounds"],
        evaluate_fn=central,
    )
    torch.save(result.arrays.to_torch_state_dict(), "final_model.pt")
    losses = [metrics["loss"] for metrics in result.evaluate_metrics_serverapp.values()]
    with open("results.json", "w") as file:
        json.dump({"loss": losses}, file)


def central(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    model = Net()
    model.load_state_dict(arrays.to_torch_state_dict())
    model.eval()
    x, y = load_data(99)
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(model(x), y).item()
    return MetricRecord({"loss": loss})
