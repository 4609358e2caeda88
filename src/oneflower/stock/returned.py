"""What the methods of an app's strategy return: as Flower declares it, or an error that names the method."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from oneflower.aggregation import AggregationError
from oneflower.errors import AppError
from oneflower.flower.api import ArrayRecord, Message, MetricRecord
from oneflower.flower.records import array_views
from oneflower.foreign_text import printable

_LONGEST: Final = 80


def messages(of: object, method: str, returned: Any) -> list[Message]:
    """Return the messages of `configure_train` or `configure_evaluate`.

    Raises
    ------
    AppError
        It is not an iterable of messages with content.
    """
    wanted = "an iterable of Message, empty for none"
    if not isinstance(returned, Iterable) or isinstance(returned, str | bytes | Mapping):
        raise _odd(of, method, returned, wanted)
    found = list(returned)
    for each in found:
        if not isinstance(each, Message) or not each.has_content():
            raise _odd(of, method, each, wanted, "returned among its messages")
    return found


def model(of: object, returned: Any) -> tuple[ArrayRecord | None, MetricRecord | None]:
    """Return the arrays and the metrics of `aggregate_train`.

    Raises
    ------
    AppError
        It is no pair of an ArrayRecord and metrics, each of them or None, or an array holds no numbers.
    """
    method, wanted = "aggregate_train", "a pair of ArrayRecord or None, and MetricRecord or None"
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise _odd(of, method, returned, wanted)
    arrays, found = returned
    if arrays is not None and not isinstance(arrays, ArrayRecord):
        raise _odd(of, method, arrays, wanted, "returned as arrays")
    try:
        array_views(arrays or ArrayRecord())
    except AggregationError as error:
        raise AppError(f"{type(of).__name__}.{method} returned a model of which {error}") from error
    return arrays, metrics(of, method, found)


def metrics(of: object, method: str, returned: Any) -> MetricRecord | None:
    """Return metrics; a mapping of numbers counts as a MetricRecord, as in Flower.

    Raises
    ------
    AppError
        They are none.
    """
    if returned is None or isinstance(returned, MetricRecord):
        return returned
    if isinstance(returned, Mapping):
        try:
            return MetricRecord(dict(returned))
        except (TypeError, ValueError) as error:
            raise _odd(of, method, returned, f"numbers ({error})", "returned as metrics") from error
    raise _odd(of, method, returned, "a MetricRecord or None", "returned as metrics")


def _odd(of: object, method: str, given: object, wanted: str, verb: str = "returned") -> AppError:
    name = "None" if given is None else f"{type(given).__name__} {_short(given)}"
    return AppError(f"{type(of).__name__}.{method} {verb} {name}; expected {wanted}. Mend the app's strategy")


def _short(value: object) -> str:
    try:
        text = printable(repr(value))
    except Exception:  # noqa: BLE001 - the app's own __repr__
        return ""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
