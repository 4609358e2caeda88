"""The clients."""

import os
import time

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from counting_app.task import load_data
from counting_app.task import test as test_fn
from counting_app.task import train as train_fn

app = ClientApp()


@app.train()
def train(msg: Message, context: Context) -> Message:
    time.sleep(float(os.environ.get("WORK_S", "0")))
    if "history" not in context.state:
        context.state["history"] = MetricRecord({"rounds": 0, "losses": [0.0]})
    history = context.state["history"]
    history["rounds"] += 1
    x, y = load_data(context.node_config["partition-id"])
    (weights,) = msg.content["arrays"].to_numpy_ndarrays()
    weights = train_fn(weights, x, y, lr=0.2 / history["rounds"])
    loss, _ = test_fn(weights, x, y)
    history["losses"] = [*history["losses"], loss]
    metrics = {"num-examples": len(x), "train_loss": loss, "rounds": history["rounds"]}
    content = RecordDict({"arrays": ArrayRecord([weights]), "metrics": MetricRecord(metrics)})
    return Message(content, reply_to=msg)
