"""A Flower app of a few NumPy lines, for clusters of real processes."""

PYPROJECT = """
[project]
name = "numpy-app"
version = "1.0.0"

[tool.flwr.app]
publisher = "tests"

[tool.flwr.app.components]
serverapp = "numpy_app.server:app"
clientapp = "numpy_app.client:app"
"""
SERVER = """
import os
import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord
from flwr.serverapp import ServerApp
from oneflower.sdk import train

app = ServerApp()
VALUES = int(os.environ.get("TEST_VALUES", "8"))
MORE = int(os.environ.get("TEST_ARRAYS", "1")) - 1


@app.main()
def main(grid, context):
    more = {f"more.{i}": Array(np.full(VALUES, i, np.float32)) for i in range(MORE)}
    start = ArrayRecord({"w": Array(np.zeros(VALUES, np.float32)), "count": Array(np.array(0)), **more})
    train(grid, context, start, evaluate=evaluate, root_update=root_update)


def root_update(number, arrays):
    rng = np.random.default_rng(number)
    moved = {name: array.numpy() for name, array in arrays.items()}
    for name, values in moved.items():
        if values.ndim:
            moved[name] = (0.9 * values + rng.normal(size=values.size)).astype(np.float32)
    return ArrayRecord({name: Array(values) for name, values in moved.items()})


def evaluate(_round, arrays):
    return MetricRecord({"loss": float(arrays["w"].numpy().sum())})
"""
CLIENT = """
import os
import time
from contextlib import suppress
import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from oneflower.sdk.client import RoundInfo, derived_seed

app = ClientApp()
PAUSE_S = float(os.environ.get("TEST_PAUSE_S", "0"))
BLOCK = 1 << 20


@app.train()
def train(message, context):
    info = RoundInfo.from_message(message, context)
    rng = np.random.default_rng(derived_seed(info.seed, info.round, info.partition_id))
    time.sleep(PAUSE_S)
    arrays = {name: array.numpy() for name, array in message.content["arrays"].items()}
    if arrays["w"].size > BLOCK:  # on a cluster, where no other client shares the record
        message.content["arrays"].clear()  # a model of a gigabyte need not be here twice
    for name in arrays:
        if arrays[name].ndim:
            step(arrays[name], rng)
    metrics = MetricRecord({"num-examples": 10 + info.partition_id})
    record = ArrayRecord({name: Array(arrays.pop(name)) for name in list(arrays)})
    return Message(RecordDict({"arrays": record, "metrics": metrics}), reply_to=message)


def step(weights, rng):
    # In blocks and in place: beside a model of a gigabyte there is room for little more.
    for begin in range(0, weights.size, BLOCK):
        part = weights[begin : begin + BLOCK]
        part[...] = 0.9 * part + rng.normal(size=part.size)


@app.evaluate()
def evaluate(message, context):
    metrics = MetricRecord({"num-examples": 10, "eval_loss": 0.5})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
"""


def write_numpy_app(folder):
    """Write the app into a new folder and return the folder."""
    (folder / "numpy_app").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "numpy_app" / "server.py").write_text(SERVER)
    (folder / "numpy_app" / "client.py").write_text(CLIENT)
    return folder
