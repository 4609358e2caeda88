"""The clients."""

import os
import time

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from waves_jax.task import load_data, loss_fn
from waves_jax.task import train as train_fn

app = ClientApp()


@app.train()
def train(msg: Message, context: Context) -> Message:
    time.sleep(float(os.environ.get("WORK_S", "0")))
    x, y = load_data(context.node_config["partition-id"])
    params = {name: array.numpy() for name, array in msg.content["arrays"].items()}
    params = train_fn(params, x, y, context.run_config["learning-rate"])
    arrays = ArrayRecord({name: Array(np.asarray(value)) for name, value in params.items()})
    metrics = MetricRecord({"num-examples": len(x), "train_loss": float(loss_fn(params, x, y))})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    x, y = load_data(context.node_config["partition-id"])
    params = {name: array.numpy() for name, array in msg.content["arrays"].items()}
    metrics = MetricRecord({"num-examples": len(x), "loss": float(loss_fn(params, x, y))})
    return Message(RecordDict({"metrics": metrics}), reply_to=msg)
