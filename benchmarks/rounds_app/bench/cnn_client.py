"""The image-classification app, traced."""

from flwr.app import Context, Message
from image_classification.client import evaluate, train

from bench.client import traced


def handle(message: Message, context: Context) -> Message:
    """Train or evaluate, depending on the message."""
    return (train if message.metadata.message_type == "train" else evaluate)(message, context)


app = traced(handle)
