"""The clients: the head stays in context.state."""

import os
import time

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch.utils.data import DataLoader, TensorDataset

from local_head.task import Net, load_data

app = ClientApp()


def load_model(msg: Message, context: Context) -> Net:
    model = Net()
    model.body.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    if "head" in context.state:
        model.head.load_state_dict(context.state["head"].to_torch_state_dict())
    return model


@app.train()
def train(msg: Message, context: Context) -> Message:
    time.sleep(float(os.environ.get("WORK_S", "0")))
    model = load_model(msg, context)
    data = TensorDataset(*load_data(context.node_config["partition-id"]))
    optimizer = torch.optim.SGD(model.parameters(), lr=context.run_config["learning-rate"])
    for x, y in DataLoader(data, batch_size=10, shuffle=True):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    context.state["head"] = ArrayRecord(model.head.state_dict())
    metrics = MetricRecord({"num-examples": len(data), "train_loss": loss.item()})
    content = RecordDict({"arrays": ArrayRecord(model.body.state_dict()), "metrics": metrics})
    return Message(content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    model = load_model(msg, context)
    x, y = load_data(context.node_config["partition-id"])
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(model(x), y).item()
    metrics = MetricRecord({"num-examples": len(x), "eval_loss": loss})
    return Message(RecordDict({"metrics": metrics}), reply_to=msg)
