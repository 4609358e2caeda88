"""Replies to an app's own strategy: read with care, compared with each other, and handed on as they came."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from oneflower.aggregation import (
    AggregationError,
    Arrays,
    ArraySpec,
    NDArray,
    Update,
    check_array,
    check_names,
    check_num_examples,
    is_finite,
)
from oneflower.codes import LeftOutCode
from oneflower.flower.api import Array, ArrayRecord, Message, MetricRecord, RecordDict
from oneflower.flower.grid import Reply
from oneflower.flower.records import array_view, array_views, to_array
from oneflower.training.replies import ReplyError

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(slots=True, kw_only=True)
class Forms:
    """What is expected of the replies to one strategy.

    Attributes
    ----------
    fixed
        All updates have one form, and the model has it, too: Flower's own code averages them.
    known
        The model came of updates, so that it says which form. An app may start from a placeholder.
    same_metrics
        All replies must have the same metrics, or Flower refuses them all.
    """

    fixed: bool = False
    known: bool = False
    same_metrics: bool = False

    def expected(self, model: Arrays) -> Shapes | None:
        """Return the shapes that each update must have; None where only the updates together tell."""
        if not (self.fixed and self.known and model):
            return None
        return {name: array.shape for name, array in model.items()}

    def odd(self, updates: Sequence[Update]) -> dict[int, ReplyError]:
        """Return by client why its update is not like those of most of the others."""
        found: dict[int, ReplyError] = {}
        if self.fixed:
            found |= _odd(updates, _form, "its arrays have other names or shapes", LeftOutCode.FORM)
        if self.fixed or self.same_metrics:
            text = "its metrics have other names"
            found = {**_odd(updates, _metric_names, text, LeftOutCode.METRICS), **found}
        return found


def _odd(updates: Sequence[Update], key: Any, text: str, code: LeftOutCode) -> dict[int, ReplyError]:
    counts = Counter(key(update) for update in updates)
    most, number = counts.most_common(1)[0] if counts else (None, 0)
    if 2 * number <= len(updates):
        return {}
    reason = f"{text} than those of the {number} others"
    return {update.client: ReplyError(reason, code) for update in updates if key(update) != most}


def _form(update: Update) -> Hashable:
    return tuple((name, update.arrays[name].shape) for name in sorted(update.arrays))


def _metric_names(update: Update) -> Hashable:
    return tuple(sorted(update.metrics))


def read_reply(reply: Reply, weighted_by: str, expected: Shapes | None) -> Update:
    """Return what a reply says; its arrays are views of the reply's memory.

    Parameters
    ----------
    weighted_by : str
        The metric that holds the number of examples; 1 where the client sends none and no form is expected.
    expected : mapping, optional
        The shapes that the only array record must have.

    Raises
    ------
    ReplyError
        It cannot be read, holds NaN or infinity, or is not as expected.
    """
    content = _content(reply.message)
    records = content.array_records
    if expected is not None and len(records) != 1:
        raise ReplyError(f"the reply has {len(records)} array records; expected one")
    arrays: dict[str, NDArray] = {}
    for record_name, record in records.items():
        prefix = "" if len(records) == 1 else f"{record_name}/"
        if expected is not None:
            _refuse(check_names(record, _specs(expected)), LeftOutCode.ARRAY_NAMES)
        arrays |= {f"{prefix}{name}": _array(name, array, expected) for name, array in record.items()}
    metrics: dict[str, Any] = {}
    for metric_record in content.metric_records.values():
        metrics |= dict(metric_record)
    weight = metrics.get(weighted_by)
    if weight is not None or expected is not None:
        _refuse(check_num_examples(weight), LeftOutCode.NUM_EXAMPLES)
    return Update(
        client=reply.node_id,
        arrays=arrays,
        num_examples=float(cast(float, weight)) if weight is not None else 1.0,
        metrics=metrics,
    )


def _specs(shapes: Shapes) -> dict[str, ArraySpec]:
    return {name: ArraySpec(shape, np.dtype(np.float32)) for name, shape in shapes.items()}


def _content(message: Message) -> RecordDict:
    if message.has_error():
        raise ReplyError(f"the client failed: {message.error.reason or 'no reason given'}")
    if not message.has_content():
        raise ReplyError("the reply is empty")
    return message.content


def _array(name: str, array: Array, expected: Shapes | None) -> NDArray:
    try:
        view = array_view(array)
    except AggregationError as error:
        raise ReplyError(f"array {name!r}: {error}") from error
    shape = view.shape if expected is None else expected[name]
    code = LeftOutCode.SHAPE
    if view.shape == shape:
        code = LeftOutCode.FORM if is_finite(view) else LeftOutCode.NOT_FINITE
    _refuse(check_array(name, view, ArraySpec(shape, view.dtype)), code)
    return view


def _refuse(reason: str | None, code: LeftOutCode) -> None:
    if reason is not None:
        raise ReplyError(reason, code)


def with_bounds(reply: Message, read: Update, bounded: Update, weighted_by: str) -> Message:
    """Return a reply as it came, or with the arrays and the weight to which it was bounded."""
    if bounded is read:
        return reply
    content = RecordDict(dict(reply.content.items()))
    if bounded.arrays is not read.arrays:
        ((name, _),) = reply.content.array_records.items()
        content[name] = ArrayRecord({each: to_array(array) for each, array in bounded.arrays.items()})
    if bounded.num_examples != read.num_examples:
        for name, metrics in reply.content.metric_records.items():
            if weighted_by in metrics:
                content[name] = MetricRecord({**metrics, weighted_by: bounded.num_examples})
    reply.content = content
    return reply


def merged_model(new: ArrayRecord, updates: Sequence[Update]) -> ArrayRecord:
    """Return the model that an app's strategy gave, with the dtypes of the clients' arrays.

    Flower's means turn integers into float64, and its optimizers float32: what is sent would have other
    dtypes than what comes back.

    Raises
    ------
    AggregationError
        An array cannot be read, or holds NaN or infinity.
    """
    arrays = array_views(new)
    for name, array in arrays.items():
        if not is_finite(array):
            raise AggregationError(f"array {name!r} of the new model holds NaN or infinity")
    changed = {}
    for name, array in arrays.items():
        sent = {update.arrays[name].dtype for update in updates if name in update.arrays}
        if len(sent) == 1 and array.dtype not in sent:
            changed[name] = to_array(_as(array, sent.pop()))
    return ArrayRecord({**new, **changed}) if changed else new


def _as(array: NDArray, dtype: np.dtype[Any]) -> NDArray:
    return (np.rint(array) if dtype.kind in "biu" and array.dtype.kind == "f" else array).astype(dtype)
