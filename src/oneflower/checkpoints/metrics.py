"""Metrics: numbers, or flat lists of numbers, by name. Conversion, validation and their form in JSON.

JSON has no NaN and no infinity. They are written as text, so that a reader in any language can open the file.
"""

import math
import numbers
from collections.abc import Mapping
from typing import Any, Final, TypeAlias, TypeGuard

from oneflower.errors import AppError

Metric: TypeAlias = int | float | list[int] | list[float]

_EXPECTED: Final = "expected a number of 64 bits or a flat list of them"
_MAX_TEXT: Final = 80
_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_LARGEST: Final = 2**63  # Flower sends integers in 64 bits


def normalised(metrics: object, *, source: str) -> dict[str, Metric]:
    """Return metrics as plain Python numbers by name, in the order given, ready for Flower and for JSON.

    NumPy and Torch numbers become Python numbers; one-dimensional arrays and tuples become lists; booleans
    become 0 and 1. A mixed list of integers and floats becomes a list of floats, because Flower's records
    hold lists of one type.

    Parameters
    ----------
    source : str
        Where the metrics come from, for the error: "the central evaluation of round 0".

    Raises
    ------
    AppError
        The metrics are not a mapping, or one of them is not a number. The text names it and says what to
        return.
    """
    if not isinstance(metrics, Mapping):
        raise AppError(f"{source} returned {_shown(metrics)}: {_mapping_hint(metrics)}")
    return {_name(name, source): _metric(name, value, source) for name, value in metrics.items()}


def _name(name: object, source: str) -> str:
    if isinstance(name, str):
        return str(name)
    raise AppError(f"{source} returned a metric named {_shown(name)}: expected text. Name it str({name!r}).")


def _metric(name: object, value: object, source: str) -> Metric:
    plain = _plain(value)
    if _is_number(plain):
        return plain
    if not isinstance(plain, list):
        raise AppError(
            f"{source} returned metric {name!r} as {_shown(value)}: {_EXPECTED}. "
            "Leave it out, or return numbers."
        )
    items = [_plain(item) for item in plain]
    if not all(map(_is_number, items)):
        raise AppError(
            f"{source} returned metric {name!r} as {_shown(value)}: {_EXPECTED}. "
            "Flatten it, or return each number under a name of its own."
        )
    return items if all(isinstance(item, int) for item in items) else [float(item) for item in items]


def _plain(value: Any) -> Any:
    """Convert a number or a list to Python's own type; return anything else unchanged."""
    if hasattr(value, "tolist") and not isinstance(value, type):
        value = value.tolist()
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        try:
            return float(value)
        except OverflowError:
            return value
    return list(value) if isinstance(value, list | tuple) else value


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, float) or (isinstance(value, int) and -_LARGEST <= value < _LARGEST)


def _shown(value: object) -> str:
    text = repr(value)
    kind = type(value).__name__
    return f"{kind} {text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + '...'}"


def _mapping_hint(value: object) -> str:
    expected = "expected metrics by name, a dict or a MetricRecord"
    if isinstance(value, tuple):
        return f'{expected}. Return {{"loss": loss, **metrics}} instead of (loss, metrics).'
    return f"{expected}. Return one, or None where nothing was measured."


def loadable(metrics: object) -> tuple[dict[str, dict[str, dict[str, Metric]]], dict[str, str]]:
    """Return the valid metrics, and by phase and name the reason why each other one is not valid.

    Earlier releases saved whatever an app returned, and then could not resume.
    """
    good: dict[str, dict[str, dict[str, Metric]]] = {}
    reasons: dict[str, str] = {}
    for phase, rounds in metrics.items() if isinstance(metrics, Mapping) else ():
        for number, values in rounds.items() if isinstance(rounds, Mapping) else ():
            if not (isinstance(number, str) and number.isdecimal() and isinstance(values, Mapping)):
                continue
            found = good.setdefault(phase, {}).setdefault(number, {})
            for name, value in values.items():
                try:
                    found |= normalised({name: value}, source=f"phase {phase!r}")
                except AppError as error:
                    reasons.setdefault(f"{phase} {name}", str(error))
    return good, reasons


def check_metrics(metrics: object) -> None:
    """Raise AppError unless metrics map phase, round (decimal text) and name to normalised numbers."""
    for phase, rounds in _mapping(metrics, "the metrics").items():
        for number, values in _mapping(rounds, f"phase {phase!r}").items():
            if not (isinstance(number, str) and number.isdecimal()):
                raise AppError(f"phase {phase!r} has round {_shown(number)}: expected decimal text.")
            source = f"phase {phase!r} of round {number}"
            slow = {
                name: value
                for name, value in _mapping(values, source).items()
                if not (isinstance(name, str) and _is_list_of_numbers(value))
            }
            plain = normalised(slow, source=source)
            if any(type(plain[name]) is not type(value) for name, value in slow.items()):
                raise AppError(f"{source} is not normalised: {_EXPECTED}.")


def _is_list_of_numbers(value: object) -> bool:
    """Return whether a value is a normalised list, without a step of Python for each of its numbers."""
    if type(value) is not list:
        return False
    kinds = set(map(type, value))
    if kinds == {int}:
        return bool(min(value) >= -_LARGEST and max(value) < _LARGEST)
    return kinds <= {float}


def _mapping(value: object, what: str) -> Mapping[Any, Any]:
    if isinstance(value, Mapping):
        return value
    raise AppError(f"{what}: {_shown(value)}: expected phases of rounds of metrics by name.")


def to_json(value: Any) -> Any:
    """Replace numbers that are not finite by text, at any depth."""
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, list):
        kinds = set(map(type, value))
        if kinds <= {int} or (kinds == {float} and all(map(math.isfinite, value))):
            return value
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def from_json(value: Any) -> Any:
    """Invert `to_json` on numbers, lists and dicts."""
    if isinstance(value, dict):
        return {key: from_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return value if set(map(type, value)) <= {int, float} else [from_json(item) for item in value]
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value
