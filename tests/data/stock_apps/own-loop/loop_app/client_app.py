"""The clients."""

import os
import time

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from loop_app.task import load_data
from loop_app.task import test as test_fn
from loop_app.task import train as train_fn

app = ClientApp()


@app.train()
def train(msg: Message, context: Context) -> Message:
    time.sleep(float(os.environ.get("WORK_S", "0")))
    x, y = load_data(context.node_config["partition-id"])
    (weights,) = msg.content["arrays"].to_numpy_ndarrays()
    weights = train_fn(weights, x, y, msg.content["config"].get("lr", 0.1))
    loss, _ = test_fn(weights, x, y)
    content = RecordDict(
        {
            "arrays": ArrayRecord([weights]),
            "metrics": MetricRecord({"num-examples": len(x), "train_loss": loss}),
        }
    )
    return Message(content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    x, y = load_data(context.node_config["partition-id"])
    loss, accuracy = test_fn(msg.content["arrays"].to_numpy_ndarrays()[0], x, y)
    metrics = {"num-examples": len(x), "eval_loss": loss, "eval_acc": accuracy}
    return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=msg)


@app.query()
def query(msg: Message, context: Context) -> Message:
    x, _ = load_data(context.node_config["partition-id"])
    content = RecordDict({"answer": MetricRecord({"rows": len(x), "mean": x.mean(0).tolist()})})
    return Message(content, reply_to=msg)
