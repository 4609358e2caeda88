"""Divide metrics into portions of which each fits in a line of the history, whatever an app measures.

A phase of one round that does not fit by itself loses its longest lists; its numbers are kept.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from oneflower.bounded_json import Bounds, values_at_most
from oneflower.checkpoints.metrics import to_json
from oneflower.checkpoints.model import Metrics
from oneflower.quality import Family, Origin, Wanted, measure, primary

Named: TypeAlias = Mapping[str, Any]

# Brackets, names of phases and rounds, and the SHA-256 of a line.
_MARGIN_VALUES: Final = 16
_MARGIN_BYTES: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """What metrics take in memory: numbers with the rounds that hold them, and the values of lists."""

    numbers: int = 0
    listed: int = 0


def weigh(metrics: Metrics) -> Weight:
    """Count the values of metrics."""
    numbers = listed = 0
    for rounds in metrics.values():
        for named in rounds.values():
            lists = [len(value) + 1 for value in named.values() if isinstance(value, list)]
            numbers += 1 + len(named) - len(lists)
            listed += sum(lists)
    return Weight(numbers=numbers + len(metrics), listed=listed)


def without_lists(metrics: Metrics) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the numbers of metrics, and every round."""
    return {
        phase: {
            number: {name: value for name, value in named.items() if not isinstance(value, list)}
            for number, named in rounds.items()
        }
        for phase, rounds in metrics.items()
    }


def deciding(metrics: Metrics, wanted: Wanted) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the numbers that decide which round is the best and when a training ends early, and every round.

    They are what is wanted, and the loss that decides where a round has no accuracy.
    """
    return {
        phase: {number: _deciding(phase, named, wanted) for number, named in rounds.items()}
        for phase, rounds in without_lists(metrics).items()
    }


def _deciding(phase: str, named: Named, wanted: Wanted) -> dict[str, Any]:
    if phase not in set(Origin):
        return {}
    there = [measure(Origin(phase), name) for name in named]
    chosen = {wanted.choose(there), primary(there, Family.LOSS)}
    return {each.name: named[each.name] for each in there if each in chosen}


def names_of(metrics: Metrics) -> set[str]:
    """Return the metrics, each with its phase."""
    return {
        f"{phase} {name}" for phase, rounds in metrics.items() for named in rounds.values() for name in named
    }


def portions(metrics: Metrics, bounds: Bounds) -> tuple[list[Metrics], set[str]]:
    """Divide metrics by round; return also the metrics that are left out, each with its phase."""
    found: list[Metrics] = []
    left_out: set[str] = set()
    part: dict[str, dict[str, Named]] = {}
    values = size = 0
    room = Bounds(
        most_bytes=bounds.most_bytes - _MARGIN_BYTES, most_values=bounds.most_values - _MARGIN_VALUES
    )
    for phase, number, whole in _by_round(metrics):
        named = fitting(whole, room)
        left_out.update(f"{phase} {name}" for name in whole if name not in named)
        more_values, more_bytes = _taken(named)
        more_bytes += len(json.dumps([phase, number]))
        if part and (values + more_values > room.most_values or size + more_bytes > room.most_bytes):
            found.append(part)
            part, values, size = {}, 0, 0
        part.setdefault(phase, {})[number] = named
        values, size = values + more_values, size + more_bytes
    return [*found, part] if part else found, left_out


def fitting(named: Named, bounds: Bounds) -> dict[str, Any]:
    """Return the metrics of one phase and round without those beyond the bounds, the longest lists first."""
    taken = {name: _taken({name: value}) for name, value in named.items()}
    values = sum(each for each, _ in taken.values())
    size = sum(each for _, each in taken.values())
    kept = dict(named)
    last_first = list(named)
    last_first.reverse()
    last_first.sort(key=lambda name: -_length(named[name]))
    for name in last_first:
        if values <= bounds.most_values and size <= bounds.most_bytes:
            break
        values, size = values - taken[name][0], size - taken[name][1]
        del kept[name]
    return kept


def _by_round(metrics: Metrics) -> Iterator[tuple[str, str, Named]]:
    numbers = {number for rounds in metrics.values() for number in rounds}
    for number in sorted(numbers, key=int):
        for phase, rounds in metrics.items():
            if number in rounds:
                yield phase, number, rounds[number]


def _taken(named: Named) -> tuple[int, int]:
    """Return the values, as they are counted when they are read, and the bytes of metrics in a line."""
    text = json.dumps(to_json(dict(named)))
    return values_at_most(text) + 2, len(text) + 4


def _length(value: object) -> int:
    """Return the length of a list; a number has none and is left out last."""
    return len(value) if isinstance(value, list) else -1
