"""The fields of a manifest, each of its type and within bounds: a checkpoint folder may be another's work."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from oneflower.checkpoints.model import ModelSchema
from oneflower.checkpoints.npz_reading import LARGEST_FILE, array_bytes

Check: TypeAlias = Callable[[Any], object]

_LONGEST_TEXT: Final = 4096
_MOST_ROUNDS: Final = 10**15
_LARGEST: Final = 2**64
_DIGEST: Final = re.compile("[0-9a-f]{64}")


def require_fields(content: Mapping[str, Any]) -> None:
    """Raise KeyError or ValueError unless every field that a reader uses is what it must be."""
    for name, check in _FIELDS.items():
        _checked(name, check, content[name])
    for name, check in _LATER.items():
        if name in content:
            _checked(name, check, content[name])


def schema_of(rows: Any) -> ModelSchema:
    """Return the arrays that a manifest lists; ValueError where there can be none of the kind."""
    if not isinstance(rows, list):
        raise ValueError("expected a list of arrays")  # noqa: TRY004 - one error for every wrong field
    arrays = {}
    for row in rows:
        name, shape, dtype = _text(row["name"]), tuple(row["shape"]), _text(row["dtype"])
        array_bytes(shape, dtype)
        arrays[name] = (shape, dtype)
    if len(arrays) != len(rows):
        raise ValueError("an array is listed twice")
    return ModelSchema(arrays=arrays)


def size(value: Any) -> int:
    """Return a file's size; ValueError where it is none, or beyond all bounds."""
    return _whole(value, LARGEST_FILE)


def digest(value: Any) -> str:
    """Return a SHA-256 as hex digits; ValueError where it is none."""
    if type(value) is str and _DIGEST.fullmatch(value):
        return value
    raise ValueError(f"{value!r:.80} is no SHA-256")


def _checked(name: str, check: Check, value: Any) -> None:
    try:
        check(value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{name}: {error}") from error


def _whole(value: Any, most: int) -> int:
    if type(value) is int and 0 <= value <= most:
        return value
    raise ValueError(f"{value!r:.80}: expected a whole number from 0 to {most}")


def _round(value: Any) -> int:
    return _whole(value, _MOST_ROUNDS)


def _text(value: Any) -> str:
    if type(value) is str and len(value) <= _LONGEST_TEXT:
        return value
    raise ValueError(f"{value!r:.80}: expected text of at most {_LONGEST_TEXT} characters")


def _integer(value: Any) -> None:
    if type(value) is not int or not -_LARGEST <= value <= _LARGEST:
        raise ValueError(f"{value!r:.80}: expected a whole number of 64 bits")


def _texts(value: Any) -> None:
    for key, each in value.items():
        _text(key)
        _text(each)


def _numbers(value: Any) -> None:
    for key, each in value.items():
        _text(key)
        if type(each) not in (int, float, bool, str):
            raise ValueError(f"{key!r:.80} is {each!r:.80}: expected a number or text")
        if type(each) is int:
            _integer(each)


def _best(value: Any) -> None:
    if value is None:
        return
    _round(value["round"])
    if "metric" in value:
        _text(value["metric"])
    if type(value["value"]) not in (int, float, str):
        raise ValueError(f"value {value['value']!r:.80}: expected a number")


def _mapping(value: Any) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r:.80}: expected an object")  # noqa: TRY004 - see above


_FIELDS: Final[Mapping[str, Check]] = {
    "round": _round,
    "total_rounds": _round,
    "strategy": _text,
    "parameters": _numbers,
    "app": _text,
    "seed": _integer,
    "time": _text,
    "versions": _texts,
    "best": _best,
    "metrics": _mapping,
}
_LATER: Final[Mapping[str, Check]] = {"notes": _mapping, "best_metric": _text, "signed": _texts}
