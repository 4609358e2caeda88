"""The ServerApp: FedAvg, central evaluation after each round, the final model in a file."""

import torch
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from task import Net, accuracy, folder, note_round

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train and write the model down."""
    torch.manual_seed(42)

    def evaluate(_round: int, arrays: ArrayRecord) -> MetricRecord:
        note_round()
        model = Net()
        model.load_state_dict(arrays.to_torch_state_dict())
        return MetricRecord({"accuracy": accuracy(model, "held-out")})

    strategy = FedAvg(min_train_nodes=3, min_evaluate_nodes=3, min_available_nodes=3)
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(Net().state_dict()),
        num_rounds=int(context.run_config["num-server-rounds"]),
        evaluate_fn=evaluate,
    )
    torch.save(result.arrays.to_torch_state_dict(), folder() / "model.pt")
    (folder() / "finished").touch()
