"""The clients."""

import os
import time

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from rings_lightning.task import LitNet, load_data, make_trainer

app = ClientApp()


@app.train()
def train(msg: Message, context: Context) -> Message:
    time.sleep(float(os.environ.get("WORK_S", "0")))
    model = LitNet()
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    loader, _ = load_data(context.node_config["partition-id"])
    trainer = make_trainer(context.run_config["max-epochs"])
    trainer.fit(model, loader)
    metrics = {
        "num-examples": len(loader.dataset),
        "train_loss": trainer.callback_metrics["train_loss"].item(),
    }
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord(metrics)})
    return Message(content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    model = LitNet()
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    _, loader = load_data(context.node_config["partition-id"])
    loss = make_trainer().test(model, loader, verbose=False)[0]["test_loss"]
    metrics = MetricRecord({"num-examples": len(loader.dataset), "eval_loss": loss})
    return Message(RecordDict({"metrics": metrics}), reply_to=msg)
