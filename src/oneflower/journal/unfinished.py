"""Find a round whose model was made and whose end was never told."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from oneflower.journal.reader import read_backwards


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A round that a crash interrupted between its aggregation and its `round_completed`."""

    valid: int
    seconds: float


def unfinished_round(path: Path, number: int) -> Unfinished | None:
    """Return what the journal has of this round when it was aggregated and not completed since, else None."""
    aggregated = None
    for event in read_backwards(path):
        match event["event"], event.get("round"):
            case "round_started", found if found == number:
                return None if aggregated is None else _unfinished(event, aggregated)
            case "round_aggregated", found if found == number:
                aggregated = aggregated or event
            case "round_completed", found if found == number:
                break
            case "round_completed", int(found) if found < number - 1:
                break  # two rounds back: whatever comes before is of an earlier run of the round
    return None if aggregated is None else _unfinished(aggregated, aggregated)


def _unfinished(started: dict[str, Any], aggregated: dict[str, Any]) -> Unfinished:
    seconds = _moment(aggregated) - _moment(started)
    return Unfinished(valid=int(aggregated["valid"]), seconds=seconds)


def _moment(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()
