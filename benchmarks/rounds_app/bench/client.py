"""A ClientApp that records its start and end, around another app or around no work."""

import time
from collections.abc import Callable

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from bench.trace import note, process_started

Handler = Callable[[Message, Context], Message]


def traced(handler: Handler) -> ClientApp:
    """Return an app that answers every message with `handler` and records the times."""
    app = ClientApp()

    def handle(message: Message, context: Context) -> Message:
        path = str(context.run_config["trace-path"])
        fields = {"message": message.metadata.message_id, "process": process_started()}
        note(path, "client_started", cpu=time.process_time(), **fields)
        reply = handler(message, context)
        note(path, "client_ended", cpu=time.process_time(), **fields)
        return reply

    app.train()(handle)
    app.evaluate()(handle)
    return app


def nothing(message: Message, context: Context) -> Message:
    """Reply with the arrays of the message, as if they had been trained."""
    del context
    metrics = MetricRecord({"num-examples": 1, "loss": 0.0})
    content = RecordDict({"metrics": metrics})
    if message.metadata.message_type == "train":
        content["arrays"] = message.content.array_records["arrays"]
    return Message(content, reply_to=message)


app = traced(nothing)
