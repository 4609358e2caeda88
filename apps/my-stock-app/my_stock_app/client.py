"""The ClientApp: local training on this node's rows, and evaluation."""

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from my_stock_app.data import client_rows
from my_stock_app.model import fit, score

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the global model on this node's rows and send it back."""
    rows, _ = client_rows(context.run_config, context.node_config)
    # FedAdam and its kind send the clients' learning rate.
    lr = message.content.config_records["config"].get("lr", context.run_config["learning-rate"])
    epochs = int(str(context.run_config["local-epochs"]))
    arrays = fit(message.content.array_records["arrays"], rows, lr=float(str(lr)), epochs=epochs)
    metrics = MetricRecord({"num-examples": len(rows[1])})
    return Message(content=RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the global model on this node's validation rows."""
    _, rows = client_rows(context.run_config, context.node_config)
    loss, accuracy = score(message.content.array_records["arrays"], rows)
    metrics = MetricRecord({"num-examples": len(rows[1]), "eval_loss": loss, "eval_acc": accuracy})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=message)
