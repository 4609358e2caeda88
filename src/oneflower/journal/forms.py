"""How each field of an event stands in JSON: what it must be when it is written, and when it is read.

A form is compiled once from the fields' types, so that a million events cost no more than their values.
"""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from enum import StrEnum
from functools import partial
from typing import Any, Final, NamedTuple, get_args, get_origin, get_type_hints

from oneflower.foreign_text import cut
from oneflower.gpu.readings import MOST_GPUS, Reading, checked_reading, record_of
from oneflower.journal.events import EVENTS, ClientLeftOut, Event, SettingRow
from oneflower.journal.values import MOST_ITEMS, FieldError, plain, shortened, shown, text
from oneflower.quality import ORIGINS, Metric

LARGEST: Final = 2**53
"""Above this a float holds no whole number exactly; no round, size or count of ours comes near."""
MOST_TEXT: Final = 16_384
MOST_TEXT_OF_CLIENT: Final = 2_048
"""In an event about one client nearly every text is the client's."""
MOST_METRICS: Final = 500
MOST_NAME: Final = 200
LONGEST_S: Final = 1e9
"""31 years: a date to which it is added stays one."""

Convert = Callable[[Any], Any]


class UnknownCodeError(FieldError):
    """A code that this version does not know, where its meaning decides what the event means."""


class Field(NamedTuple):
    """One field: its name in the class, its key in JSON, and the two ways between them."""

    attribute: str
    key: str
    read: Convert
    write: Convert


class Form(NamedTuple):
    """An event's class, its fields, and whether it has metrics, which are three objects in JSON.

    ``fast`` puts a field's value into an instance that `object.__new__` made: half the time of a frozen
    dataclass's constructor. None for an event with metrics.
    """

    cls: type[Event]
    fields: tuple[Field, ...]
    required: tuple[str, ...]
    has_metrics: bool
    fast: tuple[tuple[Callable[[Event, Any], None], str, Convert], ...] | None

    def event(self, record: Mapping[str, Any]) -> Event:
        """Read an event; LookupError, TypeError or ValueError where the record is none."""
        if self.fast is None:
            return self._with_defaults(record)
        event = object.__new__(self.cls)
        try:
            for put, key, read in self.fast:
                put(event, read(record[key]))
        except KeyError:
            return self._with_defaults(record)
        return event

    def _with_defaults(self, record: Mapping[str, Any]) -> Event:
        given = {
            field.attribute: field.read(record[field.key]) for field in self.fields if field.key in record
        }
        if self.has_metrics:
            given["metrics"] = metrics(record)
        return self.cls(**given)


def whole(value: Any) -> int:
    """Check a count, a round or a size."""
    if type(value) is int and 0 <= value <= LARGEST:
        return value
    raise FieldError(f"{shown(value)}: expected a whole number from 0 to 2^53")


def _seconds(value: Any) -> float:
    """Check a duration; there is no other field that is a float."""
    if type(value) is float and -LONGEST_S <= value <= LONGEST_S:
        return value
    if type(value) is int and -LONGEST_S <= value <= LONGEST_S:
        return float(value)
    raise FieldError(f"{shown(value)}: expected seconds, {LONGEST_S:.0f} at most")


def _read_text(value: Any) -> str:
    """Read a text, cut where it is longer than what is written today."""
    return cut(text(value), MOST_TEXT)


def _scalar(value: Any) -> bool | int | float | str:
    if type(value) is str:
        return _read_text(value)
    if type(value) is bool or (type(value) in (int, float) and math.isfinite(value)):
        return value  # type: ignore[no-any-return]
    raise FieldError(f"{shown(value)}: expected a number, text or a truth value")


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise FieldError(f"{shown(value)}: expected an object")
    return {_read_text(key): _scalar(item) for key, item in value.items()}


def _list(item: Convert, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise FieldError(f"{shown(value)}: expected a list")
    return tuple(map(item, value))


def _optional(convert: Convert, value: Any) -> Any:
    return None if value is None else convert(value)


def _setting(value: Any) -> SettingRow:
    if not isinstance(value, Mapping):
        raise FieldError(f"{shown(value)}: expected a setting")
    return SettingRow(**{each.name: _read_text(value.get(each.name)) for each in fields(SettingRow)})


def _readings(value: Any) -> tuple[Reading, ...]:
    """Read what GPUs measured, as it is read of a client; of too many those that a client may send."""
    return _list(_reading, value[:MOST_GPUS] if isinstance(value, list) else value)


def _reading(value: Any) -> Reading:
    found = checked_reading(value)
    if found is None:
        raise FieldError(f"{shown(value)}: expected what a GPU measured, with its index")
    return found


class _Codes:
    """Reads a code of one enum. ``other`` takes the place of one that only a later version knows."""

    def __init__(self, codes: type[StrEnum], *, optional: bool) -> None:
        self._codes = codes
        self._known: dict[Any, StrEnum] = {code.value: code for code in codes}
        self._other = self._known.get("other")
        self._optional = optional

    def __call__(self, value: Any) -> StrEnum | None:
        code = self._known.get(value) if isinstance(value, str) else None
        if code is not None:
            return code
        text(value)
        if self._other is None and not self._optional:
            raise UnknownCodeError(f"{shown(value)}: expected one of {', '.join(self._codes)}")
        return self._other


def metrics(record: Mapping[str, Any]) -> tuple[Metric, ...]:
    """Read the metrics of a round; null stands for a number that is not finite."""
    found: list[Metric] = []
    for origin in ORIGINS:
        for name, value in record.get(f"{origin}_metrics", {}).items():
            found.append(Metric(origin, text(name), _measured(value)))
    return tuple(found)


def _measured(value: Any) -> float | tuple[float, ...]:
    if isinstance(value, list):
        return tuple(map(_measured_number, value))
    return _measured_number(value)


def _measured_number(value: Any) -> float:
    if value is None:
        return math.nan
    if type(value) in (float, int) and -sys.float_info.max <= value <= sys.float_info.max:
        return value  # type: ignore[no-any-return]
    raise FieldError(f"{shown(value)}: expected a number")


def metrics_record(given: tuple[Metric, ...]) -> dict[str, dict[str, Any]]:
    """Write the metrics of a round."""
    found: dict[str, dict[str, Any]] = {f"{origin}_metrics": {} for origin in ORIGINS}
    for each in given[:MOST_METRICS]:
        value = plain(each.value)
        numbers = value if isinstance(value, list | tuple) else [value]
        written = [_finite_or_null(number) for number in numbers[:MOST_ITEMS]]
        found[f"{each.origin}_metrics"][shortened(text(each.name), MOST_NAME)] = (
            written if isinstance(value, list | tuple) else written[0]
        )
    return found


def _finite_or_null(value: Any) -> float | None:
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise FieldError(f"{shown(value)}: expected a number")
    return number if math.isfinite(number) else None


_SIMPLE: Final[Mapping[type, Convert]] = {int: whole, float: _seconds}


def _bounded(write: Convert, most: int) -> Convert:
    return lambda value: shortened(write(value), most)


def _writer(read: Convert) -> Convert:
    """Return how a value is written: what would be read back, from NumPy's numbers too."""
    return lambda value: read(plain(value))


def _convert(hint: Any) -> tuple[Convert, Convert]:
    """Return how a field of a type is read and written."""
    if hint is str:
        return _read_text, _writer(text)
    if hint in _SIMPLE:
        return _SIMPLE[hint], _writer(_SIMPLE[hint])
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _Codes(hint, optional=False), text_of_code(hint)
    if get_origin(hint) is tuple:
        return _convert_list(get_args(hint)[0])
    if get_origin(hint) is Mapping:
        return _mapping, lambda value: _mapping({key: plain(item) for key, item in value.items()})
    inner = next(each for each in get_args(hint) if each is not type(None))
    read, write = _convert(inner)
    if isinstance(read, _Codes):
        read = _Codes(inner, optional=True)
    return partial(_optional, read), partial(_optional, write)


def _convert_list(item: Any) -> tuple[Convert, Convert]:
    if item is SettingRow:
        return partial(_list, _setting), lambda rows: [
            {each.name: text(getattr(row, each.name)) for each in fields(SettingRow)} for row in rows
        ]
    if item is Reading:
        return _readings, lambda rows: list(map(record_of, rows))
    read, write = (_measured_number, _finite_or_null) if item is float else _convert(item)
    return partial(_list, read), lambda values: [write(value) for value in values]


def text_of_code(codes: type[StrEnum]) -> Convert:
    """Return how a code is written: only as the enum's own member."""

    def write(value: Any) -> str:
        if type(value) is codes:
            return str(value.value)
        raise FieldError(f"{shown(value)}: expected one of {codes.__name__}")

    return write


def _form(cls: type[Event]) -> Form:
    hints = get_type_hints(cls)
    found, required, has_metrics = [], [], False
    most = MOST_TEXT_OF_CLIENT if cls.__module__ == ClientLeftOut.__module__ else MOST_TEXT
    for each in fields(cls):  # type: ignore[arg-type]  # every event is a dataclass
        if each.name == "metrics":
            has_metrics = True
            continue
        key = str(each.metadata.get("json", each.name))
        read, write = _convert(hints[each.name])
        found.append(Field(each.name, key, read, _bounded(write, most)))
        if each.default is MISSING and each.default_factory is MISSING:
            required.append(key)
    puts = tuple((getattr(cls, each.attribute).__set__, each.key, each.read) for each in found)
    return Form(cls, tuple(found), tuple(required), has_metrics, None if has_metrics else puts)


FORMS: Final = {name: _form(cls) for name, cls in EVENTS.items()}
"""The form of every event by its name."""
