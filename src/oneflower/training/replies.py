"""Parse a client's reply, once, when it arrives: from here on there are updates and no messages."""

from typing import TypeVar, cast

from oneflower.aggregation import (
    LONGEST_REASON,
    WEIGHT,
    AggregationError,
    ArraySpec,
    NDArray,
    Schema,
    Update,
    are_finite,
    check_array,
    check_names,
    check_num_examples,
    is_finite,
)
from oneflower.codes import LeftOutCode
from oneflower.flower.api import ArrayRecord, Message, MetricRecord, RecordDict
from oneflower.flower.records import array_view

Record = TypeVar("Record", ArrayRecord, MetricRecord)


class ReplyError(AggregationError):
    """A reply must not be used: ``code``, and as text the reason without the client's name."""

    def __init__(self, reason: str, code: LeftOutCode = LeftOutCode.FORM) -> None:
        super().__init__(reason[:LONGEST_REASON])
        self.code = code


def parse_update(
    message: Message, schema: Schema, *, client: int | None = None, weighted_by: str = WEIGHT
) -> Update:
    """Return a reply to a training message as an update whose arrays are views of the reply's memory.

    The arrays are in the order of the model that was sent, whatever order the client put them into. The
    update is that of the node that was asked, ``client``; without, as in a check of an app, the sender's.
    ``weighted_by`` is the metric that holds the number of examples.

    Raises
    ------
    ReplyError
        It is not one array record of the model's form with finite values, and one metric record that
        holds num-examples.
    """
    content = _content(message)
    arrays = _records(content, ArrayRecord)
    if len(arrays) != 1:
        raise ReplyError(f"the reply has {len(arrays)} array records; expected one")
    metrics = _metrics(content, weighted_by)
    return _update(message, metrics, _arrays(arrays[0], schema), client, weighted_by)


def parse_evaluation(message: Message, *, client: int | None = None, weighted_by: str = WEIGHT) -> Update:
    """Return a reply to an evaluation message as an update without arrays.

    Raises
    ------
    ReplyError
        It is not one metric record that holds num-examples.
    """
    return _update(message, _metrics(_content(message), weighted_by), {}, client, weighted_by)


def _update(
    message: Message,
    metrics: MetricRecord,
    arrays: dict[str, NDArray],
    client: int | None,
    weighted_by: str,
) -> Update:
    return Update(
        client=message.metadata.src_node_id if client is None else client,
        arrays=arrays,
        num_examples=float(cast(float, metrics[weighted_by])),
        metrics=dict(metrics),
    )


def _content(message: Message) -> RecordDict:
    if message.has_error():
        raise ReplyError(f"the client failed: {message.error.reason or 'no reason given'}")
    if not message.has_content() or not message.content:
        raise ReplyError("the reply is empty; expected one array record and one metric record")
    return message.content


def _metrics(content: RecordDict, weighted_by: str) -> MetricRecord:
    metrics = _records(content, MetricRecord)
    if len(metrics) != 1:
        text = f"the reply has {len(metrics)} metric records; expected one"
        raise ReplyError(text, LeftOutCode.METRICS)
    _refuse(check_num_examples(metrics[0].get(weighted_by)), LeftOutCode.NUM_EXAMPLES)
    return metrics[0]


def _arrays(record: ArrayRecord, schema: Schema) -> dict[str, NDArray]:
    _refuse(check_names(record, schema), LeftOutCode.ARRAY_NAMES)
    arrays = {}
    for name in schema:
        try:
            arrays[name] = array_view(record[name])
        except AggregationError as error:
            raise ReplyError(f"array {name!r}: {error}") from error
    finite = are_finite(arrays)
    for name, spec in schema.items():
        wrong = check_array(name, arrays[name], spec, is_known_finite=name in finite)
        if wrong is not None:
            raise ReplyError(wrong, _array_code(arrays[name], spec))
    return arrays


def _array_code(array: NDArray, spec: ArraySpec) -> LeftOutCode:
    """Return what is wrong with an array that failed `check_array`."""
    if array.shape != spec.shape:
        return LeftOutCode.SHAPE
    if array.dtype != spec.dtype:
        return LeftOutCode.DTYPE
    return LeftOutCode.FORM if is_finite(array) else LeftOutCode.NOT_FINITE


def _refuse(reason: str | None, code: LeftOutCode) -> None:
    if reason is not None:
        raise ReplyError(reason, code)


def _records(content: RecordDict, kind: type[Record]) -> list[Record]:
    return [record for record in content.values() if isinstance(record, kind)]
