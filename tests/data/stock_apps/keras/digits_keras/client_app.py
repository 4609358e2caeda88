"""The clients."""

import os
import time

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from digits_keras.task import load_data, load_model

app = ClientApp()


def prepare(msg: Message, context: Context):
    model = load_model()
    model.set_weights(msg.content["arrays"].to_numpy_ndarrays())
    return model, load_data(context.node_config["partition-id"], context.node_config["num-partitions"])


@app.train()
def train(msg: Message, context: Context) -> Message:
    time.sleep(float(os.environ.get("WORK_S", "0")))
    model, (x, y, _, _) = prepare(msg, context)
    config = context.run_config
    history = model.fit(x, y, epochs=config["local-epochs"], batch_size=config["batch-size"], verbose=0)
    metrics = {"num-examples": len(x), "train_loss": history.history["loss"][-1]}
    content = RecordDict({"arrays": ArrayRecord(model.get_weights()), "metrics": MetricRecord(metrics)})
    return Message(content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    model, (_, _, x, y) = prepare(msg, context)
    loss, accuracy = model.evaluate(x, y, verbose=0)
    metrics = MetricRecord({"num-examples": len(x), "eval_loss": loss, "eval_acc": accuracy})
    return Message(RecordDict({"metrics": metrics}), reply_to=msg)
