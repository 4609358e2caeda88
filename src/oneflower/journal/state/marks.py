"""Moments that are worth a mark in the picture of a training."""

from typing import TYPE_CHECKING

from oneflower.journal.events import Entry, Event
from oneflower.journal.state.records import Moment

if TYPE_CHECKING:
    from oneflower.journal.state.training import TrainingState


def mark(state: "TrainingState", entry: Entry) -> None:
    """Keep an entry as a moment of the training's course."""
    done = state.done
    state.moments.append(Moment(entry=entry, position=done + 0.5 * (state.started_round > done)))


def mark_only(state: "TrainingState", _event: Event, entry: Entry) -> None:
    """Reduce an event that changes nothing but is worth a mark."""
    mark(state, entry)
