"""The clients."""

import os
import time

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch.utils.data import DataLoader, TensorDataset

from images_bn.task import Net, load_data

app = ClientApp()


@app.train()
def train(msg: Message, context: Context) -> Message:
    time.sleep(float(os.environ.get("WORK_S", "0")))
    model = Net()
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    data = TensorDataset(*load_data(context.node_config["partition-id"]))
    optimizer = torch.optim.Adam(model.parameters(), lr=context.run_config["learning-rate"])
    model.train()
    for x, y in DataLoader(data, batch_size=16, shuffle=True):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    metrics = MetricRecord({"train_loss": loss.item(), "num-examples": len(data)})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    return Message(content, reply_to=msg)
