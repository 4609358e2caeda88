"""An event's fields as every reader may rely on them: of their type, finite, small enough to be shown."""

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from oneflower.monitor.records import Event

# Above this a float holds no whole number exactly; no round, size or count of ours comes near.
LARGEST: Final = 2**53
# Further away, arithmetic with time zones leaves what a datetime can hold.
YEARS: Final = range(1970, 2200)


def _whole(value: Any) -> bool:
    return value is None or (isinstance(value, int) and 0 <= value <= LARGEST)


def _number(value: Any) -> bool:
    return value is None or (is_number(value) and abs(value) <= LARGEST)


def _text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _mapping(value: Any) -> bool:
    return value is None or isinstance(value, dict)


def _list(value: Any) -> bool:
    return value is None or isinstance(value, list)


_KINDS: Final[Mapping[Callable[[Any], bool], tuple[str, ...]]] = {
    _whole: (
        "round",
        "rounds",
        "clients",
        "valid",
        "bytes",
        "connected",
        "needed",
        "attempt",
        "tries",
        "restarts",
    ),
    _number: ("seconds", "delay_s"),
    _text: (
        *("phase", "client", "reason", "file", "sha256", "path", "app", "strategy", "state", "role"),
        *("error", "kind", "where", "fleet", "metric", "best_metric", "stopped", "because"),
    ),
    _mapping: ("parameters", "environment", "train_metrics", "evaluate_metrics", "central_metrics"),
    _list: ("settings",),
}
_CHECKS: Final = {name: check for check, names in _KINDS.items() for name in names}


def is_understood(event: Event) -> bool:
    """Whether every field that we know is of its kind; an event that is not so is passed over as a whole."""
    checks = _CHECKS
    return all(checks[name](value) for name, value in event.items() if name in checks)


def time_of(event: Event) -> datetime | None:
    """Return when an event was written; None where that cannot be read."""
    try:
        time = datetime.fromisoformat(event["time"])
    except (KeyError, TypeError, ValueError):
        return None
    if time.year not in YEARS:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def is_number(value: Any) -> bool:
    """Whether a float holds it as a number: Python's parser takes NaN, Infinity and longer integers, too."""
    return isinstance(value, int | float) and -sys.float_info.max <= value <= sys.float_info.max
