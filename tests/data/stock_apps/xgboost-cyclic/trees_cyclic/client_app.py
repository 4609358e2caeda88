"""The clients."""

import os
import time

import numpy as np
import xgboost as xgb
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from trees_cyclic.task import load_data, params_of

app = ClientApp()


def boosted(booster, data, epochs):
    for _ in range(epochs):
        booster.update(data, booster.num_boosted_rounds())
    return booster


@app.train()
def train(msg: Message, context: Context) -> Message:
    time.sleep(float(os.environ.get("WORK_S", "0")))
    data, _ = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    params, epochs = params_of(context.run_config), context.run_config["local-epochs"]
    if msg.content["config"]["server-round"] == 1:
        booster = xgb.train(params, data, num_boost_round=epochs)
    else:
        booster = xgb.Booster(params=params)
        booster.load_model(bytearray(msg.content["arrays"]["0"].numpy().tobytes()))
        booster = boosted(booster, data, epochs)
    model = np.frombuffer(booster.save_raw("json"), dtype=np.uint8)
    content = RecordDict(
        {
            "arrays": ArrayRecord([model]),
            "metrics": MetricRecord({"num-examples": data.num_row()}),
        }
    )
    return Message(content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    _, data = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    booster = xgb.Booster(params=params_of(context.run_config))
    booster.load_model(bytearray(msg.content["arrays"]["0"].numpy().tobytes()))
    line = booster.eval_set([(data, "valid")], iteration=booster.num_boosted_rounds() - 1)
    metrics = {"auc": float(line.split("\t")[1].split(":")[1]), "num-examples": data.num_row()}
    return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=msg)
