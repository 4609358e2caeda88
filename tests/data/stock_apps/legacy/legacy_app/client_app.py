"""The clients, in the API of before."""

import os
import time

from flwr.client import ClientApp, NumPyClient
from flwr.common import Context

from legacy_app.task import load_data
from legacy_app.task import test as test_fn
from legacy_app.task import train as train_fn


class FlowerClient(NumPyClient):
    def __init__(self, partition_id, epochs):
        self.data, self.epochs = load_data(partition_id), epochs

    def fit(self, parameters, config):
        time.sleep(float(os.environ.get("WORK_S", "0")))
        weights = parameters[0]
        for _ in range(self.epochs):
            weights = train_fn(weights, *self.data, config["lr"])
        return [weights], len(self.data[0]), {}

    def evaluate(self, parameters, config):
        loss, accuracy = test_fn(parameters[0], *self.data)
        return loss, len(self.data[0]), {"accuracy": accuracy}


def client_fn(context: Context):
    epochs = context.run_config["local-epochs"]
    return FlowerClient(context.node_config["partition-id"], epochs).to_client()


app = ClientApp(client_fn=client_fn)
