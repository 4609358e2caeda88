"""The clients."""

import os
import time

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from letters_hf.task import get_model, load_data, make_trainer

app = ClientApp()


@app.train()
def train(msg: Message, context: Context) -> Message:
    time.sleep(float(os.environ.get("WORK_S", "0")))
    model = get_model()
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    data = load_data(context.node_config["partition-id"])
    done = make_trainer(model, data, context.run_config["local-epochs"]).train()
    metrics = MetricRecord({"num-examples": len(data), "train_loss": done.training_loss})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    return Message(content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    model = get_model()
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    data = load_data(context.node_config["partition-id"])
    loss = make_trainer(model, data).evaluate()["eval_loss"]
    metrics = MetricRecord({"num-examples": len(data), "eval_loss": loss})
    return Message(RecordDict({"metrics": metrics}), reply_to=msg)
