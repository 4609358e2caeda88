"""The clients: the control variate is kept in context.state."""

import os
import time

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from scaffold_app.task import gradient, load_data
from scaffold_app.task import test as test_fn

app = ClientApp()


@app.train()
def train(msg: Message, context: Context) -> Message:
    time.sleep(float(os.environ.get("WORK_S", "0")))
    x, y = load_data(context.node_config["partition-id"])
    lr, steps = context.run_config["learning-rate"], 10
    (start,) = msg.content["arrays"].to_numpy_ndarrays()
    (theirs,) = msg.content["control"].to_numpy_ndarrays()
    own = np.zeros_like(start)
    if "control" in context.state:
        (own,) = context.state["control"].to_numpy_ndarrays()
    weights = start.copy()
    for _ in range(steps):
        index = np.random.choice(len(x), 30)
        weights -= lr * (gradient(weights, x[index], y[index]) - own + theirs)
    new = own - theirs + (start - weights) / (steps * lr)
    context.state["control"] = ArrayRecord([new])
    loss, _ = test_fn(weights, x, y)
    content = RecordDict(
        {
            "arrays": ArrayRecord([weights]),
            "control": ArrayRecord([new - own]),
            "metrics": MetricRecord({"num-examples": len(x), "train_loss": loss}),
        }
    )
    return Message(content, reply_to=msg)
