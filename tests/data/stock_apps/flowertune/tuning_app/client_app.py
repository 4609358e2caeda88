"""The clients."""

import os
import time

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch.utils.data import DataLoader, TensorDataset

from tuning_app.task import adapters, cosine, get_model, load_data, nested

app = ClientApp()


@app.train()
def train(msg: Message, context: Context) -> Message:
    time.sleep(float(os.environ.get("WORK_S", "0")))
    cfg = nested(context.run_config)
    length, rounds = cfg["train"]["seq_length"], context.run_config["num-server-rounds"]
    model = get_model(cfg["model"], length)
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict(), strict=False)
    data = TensorDataset(*load_data(context.node_config["partition-id"], length))
    lr = cosine(
        msg.content["config"]["server-round"],
        rounds,
        cfg["train"]["learning_rate_max"],
        cfg["train"]["learning_rate_min"],
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    total = 0.0
    for x, y in DataLoader(data, batch_size=16, shuffle=True):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() / 5
    metrics = MetricRecord({"train_loss": total, "num-examples": len(data)})
    content = RecordDict({"arrays": ArrayRecord(adapters(model)), "metrics": metrics})
    return Message(content, reply_to=msg)
