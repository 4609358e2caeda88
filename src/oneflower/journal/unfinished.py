"""Find a round whose model was made and whose end was never told."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from oneflower.journal.owners import of_training
from oneflower.journal.reader import read_journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A round that a crash interrupted between its aggregation and its `round_completed`."""

    valid: int
    seconds: float


def unfinished_round(path: Path, number: int) -> Unfinished | None:
    """Return what the journal has of this round when it was aggregated and not completed since, else None."""
    started = aggregated = None
    for event in of_training(read_journal(path)):
        if event.get("round") != number:
            continue
        match event["event"]:
            case "round_started":
                started = event
            case "round_aggregated":
                aggregated = event
            case "round_completed":
                aggregated = None
    if aggregated is None:
        return None
    seconds = _moment(aggregated) - _moment(started or aggregated)
    return Unfinished(valid=int(aggregated["valid"]), seconds=seconds)


def _moment(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()
