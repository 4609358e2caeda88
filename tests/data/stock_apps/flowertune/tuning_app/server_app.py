"""The server: `evaluate_fn` saves the adapters and measures nothing."""

import json
import os
from datetime import datetime

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp

from tuning_app.strategy import FlowerTuneLlm
from tuning_app.task import adapters, get_model, nested

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    folder = os.path.join(os.getcwd(), "results", datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))
    os.makedirs(folder, exist_ok=True)
    rounds = context.run_config["num-server-rounds"]
    cfg = nested(context.run_config)
    model = get_model(cfg["model"], cfg["train"]["seq_length"])
    strategy = FlowerTuneLlm(
        fraction_train=cfg["strategy"]["fraction_train"],
        fraction_evaluate=cfg["strategy"]["fraction_evaluate"],
    )
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(adapters(model)),
        train_config=ConfigRecord({"save_path": folder}),
        num_rounds=rounds,
        evaluate_fn=saver(cfg["train"]["save_every_round"], rounds, folder),
    )
    torch.save(result.arrays.to_torch_state_dict(), "final_adapters.pt")
    losses = [metrics["train_loss"] for metrics in result.train_metrics_clientapp.values()]
    with open("results.json", "w") as file:
        json.dump({"loss": losses, "megabytes": strategy.comm_tracker.curr_comm_cost}, file)


def saver(every, rounds, folder):
    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        if server_round and (server_round == rounds or server_round % every == 0):
            torch.save(arrays.to_torch_state_dict(), f"{folder}/adapter_{server_round}.pt")
        return MetricRecord()

    return evaluate
