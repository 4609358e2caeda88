"""The server, in the API of before."""

import json

import numpy as np
from flwr.common import Context, ndarrays_to_parameters
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg

from legacy_app.task import load_data
from legacy_app.task import test as test_fn

LOSSES = []


def weighted_average(metrics):
    total = sum(count for count, _ in metrics)
    return {"accuracy": sum(count * each["accuracy"] for count, each in metrics) / total}


def evaluate(server_round, parameters, config):
    loss, accuracy = test_fn(parameters[0], *load_data(1000))
    LOSSES.append(loss)
    np.savez("final_model.npz", *parameters)
    with open("results.json", "w") as file:
        json.dump({"loss": LOSSES}, file)
    print(f"round {server_round} done: loss {loss:.4f}", flush=True)
    return loss, {"central_accuracy": accuracy}


def server_fn(context: Context) -> ServerAppComponents:
    strategy = FedAvg(
        fraction_fit=1.0,
        fraction_evaluate=1.0,
        min_available_clients=3,
        initial_parameters=ndarrays_to_parameters([np.zeros((5, 3))]),
        evaluate_fn=evaluate,
        on_fit_config_fn=lambda server_round: {"server_round": server_round, "lr": 0.1 / server_round},
        evaluate_metrics_aggregation_fn=weighted_average,
    )
    config = ServerConfig(num_rounds=context.run_config["num-server-rounds"])
    return ServerAppComponents(strategy=strategy, config=config)


app = ServerApp(server_fn=server_fn)
