"""The ClientApp: local SGD and evaluation, by Flower's message API alone."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from task import Net, accuracy, part, train

app = ClientApp()


@app.train()
def fit(message: Message, context: Context) -> Message:
    """Train the global model on this node's rows."""
    model = Net()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    examples = train(model, int(context.node_config["partition-id"]))
    content = RecordDict(
        {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord({"num-examples": examples})}
    )
    return Message(content=content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the global model on this node's validation rows."""
    model, rows = Net(), f"validation-{int(context.node_config['partition-id'])}"
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    metrics = MetricRecord({"num-examples": len(part(rows)[1]), "eval_acc": accuracy(model, rows)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=message)
