"""Find a round whose model was made and whose end was never told."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from oneflower.journal.owners import OWNING, SUPERVISION, of_training, run_of
from oneflower.journal.reader import read_backwards


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A round that a crash interrupted between its aggregation and its `round_completed`."""

    valid: int
    seconds: float


def unfinished_round(path: Path, number: int) -> Unfinished | None:
    """Return what the journal has of this round when it was aggregated and not completed since, else None."""
    started = aggregated = None
    for event in of_training(reversed(_newest(path, number))):
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
    # A wall clock that was set back in between would make it negative.
    return Unfinished(valid=int(aggregated["valid"]), seconds=max(0.0, seconds))


def _newest(path: Path, number: int) -> list[dict[str, Any]]:
    """Return the last events of this round, the newest first, with those that tell whose they are.

    What comes before the end of the round before the last is of an earlier attempt. Where two runs write by
    turns, whose round it is stands further back: at the `run_submitted` before them.
    """
    found, runs = [], set[int]()
    for event in read_backwards(path):
        name, run, told = event["event"], run_of(event), event.get("round")
        if told == number or name in OWNING:
            found.append(event)
        if name == "run_submitted":
            runs.clear()
        elif run is not None and name not in SUPERVISION:
            runs.add(run)
        two_rounds_back = name == "round_completed" and isinstance(told, int) and told < number - 1
        if two_rounds_back and len(runs) <= 1:
            break
    return found


def _moment(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()
