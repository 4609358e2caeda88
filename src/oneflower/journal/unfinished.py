"""Find a round that was aggregated and is not logged as completed."""

from pathlib import Path

from oneflower.journal.events import Entry, RoundCompleted, RunSubmitted
from oneflower.journal.owners import OWNING, SUPERVISION
from oneflower.journal.reader import read_backwards
from oneflower.journal.state import Aggregated, reduce


def unfinished_round(path: Path, number: int) -> Aggregated | None:
    """Return what the journal has of this round when it was aggregated and not completed since, else None."""
    return reduce(reversed(_newest(path, number))).aggregated.get(number)


def _newest(path: Path, number: int) -> list[Entry]:
    """Return the last entries of this round, the newest first, with those that decide whose they are.

    What comes before the end of the round before the last is of an earlier attempt. Where two runs write by
    turns, whose round it is stands further back: at the `run_submitted` before them.
    """
    found, runs = [], set[int]()
    for entry in read_backwards(path):
        kind, run, about = type(entry.event), entry.run, getattr(entry.event, "round", None)
        if about == number or kind in OWNING:
            found.append(entry)
        if kind is RunSubmitted:
            runs.clear()
        elif run is not None and kind not in SUPERVISION:
            runs.add(run)
        two_rounds_back = kind is RoundCompleted and about is not None and about < number - 1
        if two_rounds_back and len(runs) <= 1:
            break
    return found
