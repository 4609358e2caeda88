"""The clients."""

import os
import time
import warnings

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from sklearn.metrics import log_loss

from flowers_lr.task import create_model, get_params, load_data, set_params

app = ClientApp()


def prepare(msg: Message, context: Context):
    model = create_model(context.run_config["penalty"], context.run_config["local-epochs"])
    set_params(model, msg.content["arrays"].to_numpy_ndarrays())
    return model, load_data(context.node_config["partition-id"], context.node_config["num-partitions"])


@app.train()
def train(msg: Message, context: Context) -> Message:
    time.sleep(float(os.environ.get("WORK_S", "0")))
    model, (x_train, _, y_train, _) = prepare(msg, context)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one epoch does not converge
        model.fit(x_train, y_train)
    loss = log_loss(y_train, model.predict_proba(x_train), labels=[0, 1, 2])
    content = RecordDict(
        {
            "arrays": ArrayRecord(get_params(model)),
            "metrics": MetricRecord({"num-examples": len(x_train), "train_logloss": loss}),
        }
    )
    return Message(content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    model, (_, x_test, _, y_test) = prepare(msg, context)
    metrics = {
        "num-examples": len(x_test),
        "test_logloss": log_loss(y_test, model.predict_proba(x_test), labels=[0, 1, 2]),
        "accuracy": model.score(x_test, y_test),
    }
    return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=msg)
