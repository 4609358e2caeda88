"""Federated standardisation before round 1: the sums of a client, and the mean and scale of all rows."""

from logging import INFO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from oneflower.aggregation import SPECS, Family
from oneflower.flower.api import Array, ArrayRecord, Message, MetricRecord, RecordDict, log
from oneflower.sdk.moments import Moments, median, pooled

if TYPE_CHECKING:
    from oneflower.training.asking import Ask

_ROBUST = {spec.name for spec in SPECS if spec.family is Family.ROBUST}


def sums_of(message: Message, rows: NDArray[np.float32]) -> Message:
    """Answer a query with number, mean and squared deviations of a node's rows; the rows stay on the node."""
    moments = Moments.of(rows)
    content = RecordDict(
        {
            "arrays": ArrayRecord({"mean": Array(moments.mean), "squares": Array(moments.squares)}),
            "metrics": MetricRecord({"num-examples": moments.count}),
        }
    )
    return Message(content=content, reply_to=message)


def standardise(arrays: ArrayRecord, ask: "Ask", *, strategy: str) -> ArrayRecord:
    """Set `mean` and `scale` of the model to those of all nodes' rows, as `prepare` of `train` wants it.

    Under a robust strategy they are medians over the nodes, which a single liar cannot move.
    """
    num_features = arrays["mean"].shape[0]

    def check(message: Message) -> str | None:
        try:
            return _moments(message).problem(num_features)
        except (KeyError, TypeError, ValueError) as error:
            return f"no sums: {error}"

    moments = [_moments(message) for message in ask(check)]
    mean, deviation = (median if strategy in _ROBUST else pooled)(moments)
    log(INFO, "standardised nodes=%d rows=%d", len(moments), sum(node.count for node in moments))
    arrays["mean"] = Array(mean.astype(np.float32))
    # A constant column has no deviation to divide by; its difference from the mean is 0.
    arrays["scale"] = Array(np.where(deviation > 0, deviation, 1).astype(np.float32))
    return arrays


def _moments(message: Message) -> Moments:
    arrays = message.content.array_records["arrays"]
    count = message.content.metric_records["metrics"]["num-examples"]
    if not isinstance(count, int):
        raise TypeError(f"num-examples is {count!r}")
    return Moments(count=count, mean=arrays["mean"].numpy(), squares=arrays["squares"].numpy())
