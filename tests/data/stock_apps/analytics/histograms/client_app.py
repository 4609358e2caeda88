"""The clients answer a query about their data."""

import os
import time

import numpy as np
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.query()
def query(msg: Message, context: Context) -> Message:
    time.sleep(float(os.environ.get("WORK_S", "0")))
    rng = np.random.default_rng(context.node_config["partition-id"])
    data = {"length": rng.normal(5, 1, 500), "width": rng.normal(3, 1, 500)}
    # A bootstrap of the rows, as a survey would take.
    rows = np.random.choice(500, 100)
    bins = {
        column: np.histogram(data[column][rows], bins=10, range=(0, 10))[0].tolist()
        for column in msg.content["config"]["columns"]
    }
    return Message(RecordDict({"query_results": MetricRecord(bins)}), reply_to=msg)
