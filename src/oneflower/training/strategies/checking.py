"""Check Flower replies: one by one as they arrive, then what only the whole round can tell."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from oneflower.aggregation import (
    AggregationError,
    NDArray,
    Schema,
    Update,
    check_num_examples,
    check_shares,
    ordered,
)
from oneflower.aggregation.checks import check_array, check_names
from oneflower.flower.api import Array, ArrayRecord, Message, MetricRecord, RecordDict
from oneflower.flower.records import array_view, array_views

LONGEST_REASON = 300
"""Characters of a reason: names and error texts come from clients and go into logs."""

Record = TypeVar("Record", ArrayRecord, MetricRecord)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A reply, or a part of one, that is not used, and why."""

    node_id: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The replies of a round, sorted out.

    Attributes
    ----------
    valid
        Replies to aggregate, in an order that depends on their content only.
    rejected
        Replies to leave out, by node id.
    remarks
        Parts of valid replies that are ignored, such as a metric that only this client sends.
    """

    valid: list[Message]
    rejected: list[Rejection]
    remarks: list[Rejection]


def node_id(message: Message) -> int:
    """Return the id of the node that sent this reply."""
    return int(message.metadata.src_node_id)


def check_reply(message: Message, schema: Schema, weight_key: str) -> str | None:
    """Return why a reply to a training message must not be used, or None."""
    if reason := _check_content(message):
        return reason
    arrays = _records(message.content, ArrayRecord)
    if len(arrays) != 1:
        return f"the reply has {len(arrays)} array records; expected one"
    return _check_metrics(message.content, weight_key) or _check_arrays(arrays[0], schema)


def check_evaluation(message: Message, weight_key: str) -> str | None:
    """Return why a reply to an evaluation message must not be used, or None."""
    return _check_content(message) or _check_metrics(message.content, weight_key)


def check_together(replies: Iterable[Message], weight_key: str) -> Checked:
    """Check what only all replies together can tell; each must have passed its own check before.

    A client is left out whose num-examples is absurd beside the others', or that lacks a metric that
    more than half of the clients send. A metric that at most half of them send is a remark.
    """
    messages = list(replies)
    reasons = dict(enumerate(check_shares([weight_of(message, weight_key) for message in messages])))
    plausible = [i for i, reason in reasons.items() if reason is None]
    expected = _expected_metrics([messages[i] for i in plausible])
    reasons |= {i: _missing_metrics(messages[i], expected) for i in plausible}
    rejected = [
        Rejection(node_id=node_id(messages[i]), reason=reason) for i, reason in reasons.items() if reason
    ]
    kept = [messages[i] for i, reason in reasons.items() if reason is None]
    remarks = [remark for message in kept if (remark := _unexpected_metrics(message, expected))]
    return Checked(
        valid=in_fixed_order(kept, weight_key),
        rejected=sorted(rejected, key=lambda rejection: rejection.node_id),
        remarks=sorted(remarks, key=lambda remark: remark.node_id),
    )


def in_fixed_order(replies: Iterable[Message], weight_key: str) -> list[Message]:
    """Sort replies by their content, see `oneflower.aggregation.ordered`."""
    by_update = {to_update(message, weight_key): message for message in replies}
    return [by_update[update] for update in ordered(by_update)]


def to_update(message: Message, weight_key: str) -> Update:
    """Return a checked reply as an update that shares its memory; an evaluation's has no arrays.

    Raises
    ------
    AggregationError
        The reply would not have passed its check.
    """
    weight = weight_of(message, weight_key)
    arrays: Mapping[str, NDArray] = {}
    if records := _records(message.content, ArrayRecord):
        arrays = array_views(records[0])
    return Update(
        client=str(node_id(message)), arrays=arrays, num_examples=weight, metrics=dict(metrics_of(message))
    )


def metrics_of(message: Message) -> MetricRecord:
    """Return the one metric record of a checked reply."""
    return _records(message.content, MetricRecord)[0]


def weight_of(message: Message, weight_key: str) -> float:
    """Return the num-examples of a checked reply."""
    if reason := check_evaluation(message, weight_key):
        raise AggregationError(f"client {node_id(message)}: {reason}; check replies before aggregating them")
    return float(cast(float, metrics_of(message)[weight_key]))


def _check_content(message: Message) -> str | None:
    if message.has_error():
        return f"the client failed: {message.error.reason or 'no reason given'}"[:LONGEST_REASON]
    if not message.has_content() or not message.content:
        return "the reply is empty; expected one array record and one metric record"
    return None


def _check_metrics(content: RecordDict, weight_key: str) -> str | None:
    metrics = _records(content, MetricRecord)
    if len(metrics) != 1:
        return f"the reply has {len(metrics)} metric records; expected one"
    return check_num_examples(metrics[0].get(weight_key))


def _check_arrays(record: ArrayRecord, schema: Schema) -> str | None:
    if reason := check_names(record, schema):
        return reason[:LONGEST_REASON]
    reasons = (_check_array(name, record[name], schema) for name in schema)
    return next((reason[:LONGEST_REASON] for reason in reasons if reason), None)


def _check_array(name: str, array: Array, schema: Schema) -> str | None:
    try:
        return check_array(name, array_view(array), schema[name])
    except AggregationError as error:
        return f"array {name!r}: {error}"


def _records(content: RecordDict, kind: type[Record]) -> list[Record]:
    return [record for record in content.values() if isinstance(record, kind)]


def _expected_metrics(messages: Sequence[Message]) -> set[str]:
    counts = Counter(key for message in messages for key in metrics_of(message))
    return {key for key, count in counts.items() if 2 * count > len(messages)}


def _missing_metrics(message: Message, expected: set[str]) -> str | None:
    missing = sorted(expected - set(metrics_of(message)))
    return f"metrics {missing} are missing, which most clients send"[:LONGEST_REASON] if missing else None


def _unexpected_metrics(message: Message, expected: set[str]) -> Rejection | None:
    extra = sorted(set(metrics_of(message)) - expected)
    if not extra:
        return None
    reason = f"metrics {extra} are ignored; at most half of the clients send them"[:LONGEST_REASON]
    return Rejection(node_id=node_id(message), reason=reason)
