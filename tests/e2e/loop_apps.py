"""Stock Flower apps with loops of their own, as authors write them: nothing of oneflower is imported."""

PYPROJECT = """
[project]
name = "loop-app"
version = "1.0.0"

[tool.flwr.app]
publisher = "tests"

[tool.flwr.app.components]
serverapp = "loop_app.server:app"
clientapp = "loop_app.client:app"
"""
HEAD = """
import hashlib
import os
import random
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

ROUNDS = 4


def finish(weights):
    with open(os.environ["TEST_FINAL"], "w") as file:
        file.write(hashlib.sha256(weights.tobytes()).hexdigest())


def exchanged(grid, nodes, weights, number):
    record = ArrayRecord({"w": Array(weights)})
    content = RecordDict({"arrays": record, "config": ConfigRecord({"number": number})})
    total = np.zeros_like(weights)
    for reply in grid.send_and_receive([Message(content, node, "train") for node in nodes]):
        total += reply.content["arrays"]["w"].numpy()
    return (total / len(nodes)).astype(np.float32)

"""
QUERY = (
    HEAD
    + """
app = ServerApp()


@app.main()
def main(grid, context):
    nodes = list(grid.get_node_ids())
    asked = grid.send_and_receive([Message(RecordDict(), node, "query") for node in nodes])
    sizes = {each.metadata.src_node_id: each.content["facts"]["size"] for each in asked}
    weights = np.full(1000, sum(sizes.values()), np.float32)
    for number in range(ROUNDS):
        weights = exchanged(grid, random.sample(sorted(sizes), 2), weights, number)
    finish(weights)
"""
)
START = (
    HEAD
    + """
from flwr.serverapp.strategy import FedAvg, Result

app = ServerApp()


class Strange(FedAvg):
    def start(self, grid, initial_arrays, num_rounds=3, **_others):
        weights = initial_arrays["w"].numpy()
        for number in range(num_rounds):
            nodes = [each.metadata.dst_node_id for each in self.configure_train(
                number, initial_arrays, ConfigRecord(), grid)]
            weights = exchanged(grid, nodes, weights, number)
        return Result(arrays=ArrayRecord({"w": Array(weights)}))


@app.main()
def main(grid, context):
    initial = ArrayRecord({"w": Array(np.ones(1000, np.float32))})
    strategy = Strange(fraction_train=0.7, min_train_nodes=2, min_available_nodes=3)
    finish(strategy.start(grid, initial, num_rounds=ROUNDS).arrays["w"].numpy())
"""
)
CLIENT = """
import os
import time
import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.query()
def query(message, context):
    size = context.node_config["partition-id"] + 5
    return Message(RecordDict({"facts": MetricRecord({"size": size})}), reply_to=message)


@app.train()
def train(message, context):
    time.sleep(float(os.environ.get("TEST_PAUSE_S", "0")))
    rng = np.random.default_rng([context.node_config["partition-id"], message.content["config"]["number"]])
    values = message.content["arrays"]["w"].numpy()
    arrays = {"w": Array((0.5 * values + rng.normal(size=values.shape)).astype(np.float32))}
    return Message(RecordDict({"arrays": ArrayRecord(arrays)}), reply_to=message)
"""
LEGACY_SERVER = (
    HEAD
    + """
from flwr.common import parameters_to_ndarrays
from flwr.server import ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg


class Kept(FedAvg):
    def aggregate_fit(self, server_round, results, failures):
        aggregated = super().aggregate_fit(server_round, results, failures)
        if server_round == ROUNDS:
            finish(parameters_to_ndarrays(aggregated[0])[0])
        return aggregated


def server_fn(context):
    strategy = Kept(
        fraction_fit=0.7,
        fraction_evaluate=0.4,
        min_fit_clients=2,
        min_evaluate_clients=1,
        min_available_clients=3,
        on_fit_config_fn=lambda number: {"number": number},
    )
    return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=ROUNDS))


app = ServerApp(server_fn=server_fn)
"""
)
LEGACY_CLIENT = """
import os
import time
import numpy as np
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp


class Client(NumPyClient):
    def __init__(self, partition):
        self.partition = partition

    def get_parameters(self, config):
        return [np.full(1000, self.partition, np.float32)]

    def fit(self, parameters, config):
        time.sleep(float(os.environ.get("TEST_PAUSE_S", "0")))
        noise = np.random.default_rng([self.partition, config["number"]]).normal(size=1000)
        return [(parameters[0] / 3 + noise).astype(np.float32)], 10 + self.partition, {}

    def evaluate(self, parameters, config):
        return float(np.abs(parameters[0]).sum()), 10, {"accuracy": 0.5}


app = ClientApp(client_fn=lambda context: Client(context.node_config["partition-id"]).to_client())
"""
APPS = {"query": (QUERY, CLIENT), "start": (START, CLIENT), "legacy": (LEGACY_SERVER, LEGACY_CLIENT)}


def write_loop_app(folder, name):
    """Write one of the apps into a new folder and return the folder."""
    server, client = APPS[name]
    (folder / "loop_app").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "loop_app" / "server.py").write_text(server)
    (folder / "loop_app" / "client.py").write_text(client)
    return folder
