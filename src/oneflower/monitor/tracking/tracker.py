"""What a tracker gets: the same few calls for each, made by one follower of the journal."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from oneflower.codes import ENDED, Phase
from oneflower.journal import Entry, Event, TrainingState
from oneflower.journal.events import (
    AppFailed,
    RoundCompleted,
    SupervisorMoved,
    TrainingFailed,
    TrainingFinished,
    TrainingGaveUp,
    TrainingResumed,
    TrainingStarted,
)
from oneflower.journal.state.records import RoundResult

ENDING = frozenset({AppFailed, SupervisorMoved, TrainingFailed, TrainingFinished, TrainingGaveUp})


class Tracker(Protocol):
    """Takes a training as it happens. A round that is given again replaces what was said of it before."""

    def begin(self, view: TrainingState) -> None:
        """Take what is trained and how; called at every start, after `rewind`."""

    def rewind(self, after: int) -> None:
        """Forget the rounds after ``after``: a crash lost them, and they come again."""

    def completed(self, result: RoundResult, left_out: int) -> None:
        """Take a completed round."""

    def finish(self, outcome: Phase) -> None:
        """Take the end: `Phase.FINISHED` or `Phase.FAILED`."""

    def close(self) -> None:
        """Write what is not written yet."""


def track(entries: Iterable[Entry], tracker: Tracker) -> TrainingState:
    """Hand a journal to a tracker, event by event; return the state."""
    view = TrainingState()
    for entry in entries:
        if view.take(entry):
            _hand_over(entry.event, view, tracker)
    return view


def _hand_over(event: Event, view: TrainingState, tracker: Tracker) -> None:
    match event:
        case TrainingStarted() | TrainingResumed():
            tracker.rewind(view.resumed_after[-1] if view.resumed_after else 0)
            tracker.begin(view)
        case RoundCompleted(round=number) if number in view.rounds:
            tracker.completed(view.rounds[number], len(view.absent.get(number, {})))
        case _ if view.phase in ENDED and type(event) in ENDING:
            tracker.finish(view.phase)


def scalars(result: RoundResult, left_out: int) -> dict[str, float]:
    """Return a round's numbers under the names that every tracker uses, for example ``central/loss``."""
    metrics = {f"{name.origin}/{name.name}": value for name, value in result.metrics.items()}
    return {
        **metrics,
        "round/seconds": result.seconds,
        "round/clients": float(result.valid),
        "round/left_out": float(left_out),
    }


def parameters(view: TrainingState) -> Mapping[str, Any]:
    """Return what the training was asked to do, by name."""
    settings = {row.variable: row.value for row in view.settings}
    return {
        "strategy": view.strategy,
        "app": view.app,
        "rounds": view.total,
        **view.parameters,
        **settings,
    }
