"""The clients."""

import os
import time

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from regression.task import load_data, loss_of, step

app = ClientApp()


@app.train()
def train(msg: Message, context: Context) -> Message:
    time.sleep(float(os.environ.get("WORK_S", "0")))
    x, y = load_data(context.node_config["partition-id"])
    before = msg.content["arrays"].to_numpy_ndarrays()
    after = step(before, x, y, context.run_config["learning-rate"])
    content = RecordDict(
        {
            "arrays": ArrayRecord(after),
            "metrics": MetricRecord({"num-examples": len(x), "train_loss": loss_of(after, x, y)}),
        }
    )
    return Message(content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    x, y = load_data(context.node_config["partition-id"])
    loss = loss_of(msg.content["arrays"].to_numpy_ndarrays(), x, y)
    content = RecordDict({"metrics": MetricRecord({"num-examples": len(x), "loss": loss})})
    return Message(content, reply_to=msg)
