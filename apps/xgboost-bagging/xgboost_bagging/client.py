"""The ClientApp: grow trees on this node's rows, evaluate all trees on its validation rows."""

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from xgboost_bagging.data import client_rows
from xgboost_bagging.model import grown, parameters, score

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Grow the trees of this round and send them alone."""
    rows, _ = client_rows(context.run_config, context.node_config)
    number = message.content.config_records["config"]["server-round"]
    # Each round and client has its own draw of rows, and a repeated one the same.
    seed = 1000 * int(str(number)) + int(str(context.node_config["partition-id"]))
    chosen = parameters(context.run_config, seed)
    arrays = grown(message.content.array_records["arrays"], rows, chosen)
    metrics = MetricRecord({"num-examples": len(rows[1])})
    return Message(content=RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate all trees on this node's validation rows."""
    _, rows = client_rows(context.run_config, context.node_config)
    found = score(message.content.array_records["arrays"], rows)
    named = {f"eval_{name}": value for name, value in found.items()}
    metrics = MetricRecord({"num-examples": len(rows[1]), **named})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=message)
