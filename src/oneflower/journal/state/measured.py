"""What the updates of a round showed, kept with each client."""

from collections.abc import Sequence
from math import inf, nan
from typing import TYPE_CHECKING

from oneflower.journal.events import Entry, UpdatesMeasured
from oneflower.journal.state.records import Measured

if TYPE_CHECKING:
    from oneflower.journal.state.training import TrainingState


def measured(state: "TrainingState", event: UpdatesMeasured, _entry: Entry) -> None:
    """Note what each update showed; a client that has not replied is none of this training."""
    distances, changes = _norms(event.distances), _norms(event.changes)
    for place, name in enumerate(event.clients):
        client = state.roster.get(name)
        if client is not None:
            shown = Measured(
                distance=_at(distances, place),
                change=_at(changes, place),
                weight=_at(event.weights, place),
                used=bool(event.selected[place]) if place < len(event.selected) else None,
            )
            client.measure(event.round, shown)


def forget_measured(state: "TrainingState", after: int) -> None:
    """Drop what was measured in rounds that are trained again."""
    for client in state.roster.values():
        for number in [number for number in client.measured if number > after]:
            del client.measured[number]


def _norms(values: Sequence[float]) -> list[float]:
    """Return infinity for what was too large to be written, and for what is no norm."""
    return [value if value >= 0 else inf for value in values]


def _at(values: Sequence[float], place: int) -> float:
    return values[place] if place < len(values) else nan
