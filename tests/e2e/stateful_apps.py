"""Stock Flower apps without a word of oneflower, whose clients keep state from round to round."""

PYPROJECT = """
[project]
name = "stateful"
version = "1.0.0"

[tool.flwr.app]
publisher = "tests"

[tool.flwr.app.components]
serverapp = "stateful.server:app"
clientapp = "stateful.client:app"

[tool.flwr.app.config]
num-server-rounds = 5
"""

SCAFFOLD_SERVER = """
import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid, context):
    start = ArrayRecord({"w": Array(np.zeros(6, np.float32))})
    strategy = FedAvg(fraction_evaluate=1.0, min_train_nodes=2, min_available_nodes=2)
    strategy.start(grid=grid, initial_arrays=start, num_rounds=context.run_config["num-server-rounds"])
"""

SCAFFOLD_CLIENT = """
import os, random, time
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    time.sleep(float(os.environ.get("TEST_PAUSE_S", "0")))
    target = np.float32(context.node_config["partition-id"])
    start = message.content["arrays"]["w"].numpy()
    kept = context.state.array_records.get("variate")
    variate = np.zeros_like(start) if kept is None else kept["c"].numpy()
    w = start.copy()
    for _ in range(4):
        noise = np.random.normal(size=w.shape).astype(np.float32) * np.float32(random.random())
        w -= np.float32(0.1) * (w - target + noise - variate)
    variate = variate + (start - w) / np.float32(0.4)
    context.state["variate"] = ArrayRecord({"c": Array(variate)})
    content = {"arrays": ArrayRecord({"w": Array(w)}), "metrics": MetricRecord({"num-examples": 10})}
    return Message(RecordDict(content), reply_to=message)


@app.evaluate()
def evaluate(message, context):
    calls = context.state.config_records.get("evaluated", ConfigRecord({"calls": 0}))["calls"]
    context.state["evaluated"] = ConfigRecord({"calls": calls + 1})
    metrics = MetricRecord({"num-examples": 10, "eval_loss": 1.0 / (1 + calls)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
"""

PERSONAL_SERVER = """
from flwr.app import ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from stateful.model import Net, is_shared

app = ServerApp()


@app.main()
def main(grid, context):
    shared = {name: value for name, value in Net().state_dict().items() if is_shared(name)}
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=2, min_available_nodes=2)
    rounds = context.run_config["num-server-rounds"]
    strategy.start(grid=grid, initial_arrays=ArrayRecord(shared), num_rounds=rounds)
"""

PERSONAL_MODEL = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 8)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 2)

    def forward(self, rows):
        hidden = nn.functional.relu(self.norm(self.body(rows)))
        return self.head(nn.functional.dropout(hidden, 0.2, self.training))


def is_shared(name):
    return name.startswith("body")
"""

PERSONAL_CLIENT = """
import os, time
import torch
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from stateful.model import Net, is_shared
from torch.utils.data import DataLoader, TensorDataset

app = ClientApp()


@app.train()
def train(message, context):
    time.sleep(float(os.environ.get("TEST_PAUSE_S", "0")))
    model = Net()
    if "own" in context.state:
        model.load_state_dict(context.state["own"].to_torch_state_dict(), strict=False)
    model.load_state_dict(message.content["arrays"].to_torch_state_dict(), strict=False)
    labels = torch.randint(0, 2, (32,))
    rows = torch.randn(32, 4) + labels[:, None] + context.node_config["partition-id"]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for batch, classes in DataLoader(TensorDataset(rows, labels), batch_size=8, shuffle=True):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(batch), classes).backward()
        optimizer.step()
    state = model.state_dict()
    context.state["own"] = ArrayRecord({name: value for name, value in state.items() if not is_shared(name)})
    shared = ArrayRecord({name: value for name, value in state.items() if is_shared(name)})
    content = {"arrays": shared, "metrics": MetricRecord({"num-examples": 32})}
    return Message(RecordDict(content), reply_to=message)
"""

APPS = {
    "scaffold": {"server.py": SCAFFOLD_SERVER, "client.py": SCAFFOLD_CLIENT},
    "personal": {"server.py": PERSONAL_SERVER, "client.py": PERSONAL_CLIENT, "model.py": PERSONAL_MODEL},
}


def write_stateful_app(folder, kind):
    """Write the app of a kind and return its folder."""
    package = folder / "stateful"
    package.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    for name, text in {"__init__.py": "", **APPS[kind]}.items():
        (package / name).write_text(text)
    return folder
