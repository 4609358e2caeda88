"""Replies to an app's own strategy: read with care, compared with each other, and handed on as they came."""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from oneflower.aggregation import (
    LONGEST_REASON,
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
from oneflower.stock.growing import Growing
from oneflower.training.replies import ReplyError

Shapes = Mapping[str, tuple[int, ...]]

_LARGEST_POWER = 15
"""In decimal digits: what a loss may weigh as `loss ** q`, so that float32 holds the sum."""


@dataclass(slots=True, kw_only=True)
class Forms:
    """What is expected of the replies to one strategy.

    Attributes
    ----------
    fixed
        All updates have one form, and the model has it, too: Flower's own code averages them.
    known
        The model came of updates, so that it says which form. An app may start from a placeholder.
    strict
        Replies are compared with each other for a rule of the app's own, too: it has failed on some of them.
    grows
        Flower's own code, with a model that grows: each reply is checked by itself.
    record
        The name of the array record that the clients are sent.
    metrics
        The names and types of the metrics of the training, and of the evaluation, that counted last.
    """

    fixed: bool = False
    known: bool = False
    strict: bool = False
    grows: bool = False
    record: str = "arrays"
    metrics: dict[bool, Hashable] = field(default_factory=dict)

    def expected(self, model: Arrays) -> Shapes | None:
        """Return the shapes that each update must have; None where only the updates together tell."""
        if not (self.fixed and self.known and model):
            return None
        return {name: array.shape for name, array in model.items()}

    def odd(
        self, read: Mapping[int, tuple[Message, Update]], model: Arrays, growing: Growing | None = None
    ) -> dict[int, ReplyError]:
        """Return by client why its reply is not like those of most of the others; `model` is what was sent.

        The form of the model counts where as many have it as have any other one.
        """
        if not (self.fixed or self.strict or self.grows):
            return {}
        text = "its arrays have other names, shapes or dtypes"
        wanted = (self.record,), _form(model)
        if growing is not None:
            text = "its record has another name, or its booster is of another kind"
            forms = {c: (tuple(m.content.array_records), growing.form(c)) for c, (m, _) in read.items()}
        else:
            forms = {c: (tuple(m.content.array_records), _form(u.arrays)) for c, (m, u) in read.items()}
        found = _odd(forms, wanted, text, LeftOutCode.FORM)
        return found | self._odd_metrics({c: m for c, (m, _) in read.items() if c not in found}, bool(model))

    def _odd_metrics(self, replies: Mapping[int, Message], train: bool) -> dict[int, ReplyError]:
        """Compare metrics; of two halves the one counts that has the names of the round before."""
        forms = {client: _metrics_of(reply) for client, reply in replies.items()}
        text = "its metrics have other names or types"
        odd = _odd(forms, (self.metrics.get(train), None), text, LeftOutCode.METRICS, decided=True)
        counted = {forms[client][0] for client in forms.keys() - odd.keys()}
        if len(counted) == 1:
            self.metrics[train] = counted.pop()
        return odd


def _odd(
    forms: Mapping[int, tuple[Hashable, Hashable]],
    wanted: tuple[Hashable, Hashable],
    text: str,
    code: LeftOutCode,
    *,
    decided: bool = False,
) -> dict[int, ReplyError]:
    """Compare forms; where two are equally frequent, the one that has more of `wanted` counts.

    With `decided` one of two halves always counts: there is no model without.
    """
    counts = Counter(forms.values())
    if len(counts) < 2:
        return {}

    def rank(form: tuple[Hashable, Hashable]) -> tuple[int, bool, bool]:
        return counts[form], form[1] == wanted[1], form[0] == wanted[0]

    first, second = sorted(counts, key=lambda form: (rank(form), repr(form)), reverse=True)[:2]
    if 2 * counts[first] < len(forms):
        return {}
    if 2 * counts[first] == len(forms) and not decided and first[1] not in (wanted[1], second[1]):
        return {}
    reason = f"{text} than those of the {counts[first]} others"
    return {client: ReplyError(reason, code) for client, form in forms.items() if form != first}


def _form(arrays: Arrays) -> Hashable:
    return tuple((name, arrays[name].shape, arrays[name].dtype.str) for name in sorted(arrays))


def _metrics_of(reply: Message) -> tuple[Hashable, Hashable]:
    records = reply.content.metric_records.items()
    return tuple((name, tuple(sorted(map(_metric, record.items())))) for name, record in records), None


def _metric(item: tuple[str, Any]) -> tuple[str, int]:
    """Return a metric's name and, for a list, how long it is: a number has none."""
    name, value = item
    return name, len(value) if isinstance(value, list) else -1


def read_reply(
    reply: Reply,
    weighted_by: str,
    expected: Shapes | None,
    *,
    one_record: bool = False,
    weighed: bool = False,
) -> Update:
    """Return what a reply says; its arrays are views of the reply's memory.

    Parameters
    ----------
    weighted_by : str
        The metric that holds the number of examples; 1 where the client sends none and no form is expected.
    expected : mapping, optional
        The shapes that the only array record must have.
    one_record, weighed
        Flower's own code, which needs one record of arrays, and one of metrics with the weight.

    Raises
    ------
    ReplyError
        It cannot be read, holds NaN or infinity, or is not as expected.
    """
    content = _content(reply.message)
    records = content.array_records
    if (one_record or expected is not None) and len(records) != 1:
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
    if weighed and len(content.metric_records) != 1:
        reason = f"the reply has {len(content.metric_records)} metric records; expected one"
        raise ReplyError(reason, LeftOutCode.METRICS)
    if weight is not None or weighed or expected is not None:
        _refuse(check_num_examples(weight), LeftOutCode.NUM_EXAMPLES)
    return Update(
        client=reply.node_id,
        arrays=arrays,
        num_examples=float(cast(float, weight)) if weight is not None else 1.0,
        metrics=metrics,
    )


def require_loss(update: Update, name: str, power: float) -> None:
    """Refuse a loss with which `QFedAvg` cannot weigh a client: it takes powers of it.

    Raises
    ------
    ReplyError
        It is no number, below 0, NaN, infinite, or its power is far beyond all others.
    """
    loss = update.metrics.get(name)
    if not isinstance(loss, int | float) or not 0 <= loss < math.inf:
        text = f"metric {name!r} is {loss!r}; expected a loss, a finite number of at least 0"
        raise ReplyError(text[:LONGEST_REASON], LeftOutCode.METRICS)
    if power * math.log10(float(loss) + 1e-10) > _LARGEST_POWER:
        raise ReplyError(f"metric {name!r} is {loss!r}: too large for q={power}", LeftOutCode.METRICS)


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
