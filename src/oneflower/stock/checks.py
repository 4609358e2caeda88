"""What is checked of a reply to an app's own loop, whose form only the app knows."""

from oneflower.aggregation import AggregationError, is_finite
from oneflower.codes import LeftOutCode
from oneflower.flower.api import Message, SType
from oneflower.flower.records import array_view
from oneflower.flower.refusals import refusal_of
from oneflower.training.replies import ReplyError


def check_reply(reply: Message) -> None:
    """Raise ReplyError for a reply that must not reach the app: one that was refused, or with damaged arrays.

    Arrays in NumPy's format must be plain numbers, and finite. Arrays of another serialisation are the app's
    to read, and metrics are the app's to judge.
    """
    refusal = refusal_of(reply)
    if refusal is not None:
        raise ReplyError(refusal.reason or "", refusal.why)
    if reply.has_error() or not reply.has_content():
        return
    for record_name, record in reply.content.array_records.items():
        for name, array in record.items():
            if array.stype != SType.NUMPY:
                continue
            try:
                values = array_view(array)
            except AggregationError as error:
                raise ReplyError(f"array {name!r} of {record_name!r}: {error}") from error
            if not is_finite(values):
                text = f"array {name!r} of {record_name!r} holds NaN or infinity"
                raise ReplyError(text, LeftOutCode.NOT_FINITE)
