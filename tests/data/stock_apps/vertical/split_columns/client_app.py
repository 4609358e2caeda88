"""The clients: the model of one's own columns stays in context.state."""

import os
import time

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from split_columns.task import ClientModel, load_columns

app = ClientApp()


def load_model(context: Context) -> ClientModel:
    model = ClientModel()
    if "model" in context.state:
        model.load_state_dict(context.state["model"].to_torch_state_dict())
    else:
        context.state["model"] = ArrayRecord(model.state_dict())
    return model


@app.query("generate_embeddings")
def generate_embeddings(msg: Message, context: Context) -> Message:
    time.sleep(float(os.environ.get("WORK_S", "0")))
    position = context.node_config["partition-id"]
    with torch.no_grad():
        embeddings = load_model(context)(load_columns(position))
    content = RecordDict(
        {
            "embeddings": ArrayRecord([embeddings.numpy()]),
            "metrics": MetricRecord({"position": position}),
        }
    )
    return Message(content, reply_to=msg)


@app.train("apply_gradients")
def apply_gradients(msg: Message, context: Context) -> Message:
    model = load_model(context)
    optimizer = torch.optim.SGD(model.parameters(), lr=context.run_config["learning-rate"])
    gradients = msg.content["gradients"].to_torch_state_dict()["0"]
    model(load_columns(context.node_config["partition-id"])).backward(gradients)
    optimizer.step()
    context.state["model"] = ArrayRecord(model.state_dict())
    return Message(RecordDict(), reply_to=msg)
