"""The reply of a ClientApp."""

from collections.abc import Mapping

from oneflower.flower.api import ArrayRecord, Message, MetricRecord, RecordDict


def reply(message: Message, metrics: Mapping[str, float | int], arrays: ArrayRecord | None = None) -> Message:
    """Answer a message with metrics, and with the arrays of what was trained.

    `num-examples` must be among the metrics: it is the weight of this client in every mean.
    """
    content = RecordDict({"metrics": MetricRecord(dict(metrics))})
    if arrays is not None:
        content["arrays"] = arrays
    return Message(content=content, reply_to=message)
