"""What a tracker gets: the same few calls for each, made by one follower of the journal."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from oneflower.monitor.history import Event, History
from oneflower.monitor.records import RoundResult


class Tracker(Protocol):
    """Takes a training as it happens. A round that is given again replaces what was said of it before."""

    def begin(self, view: History) -> None:
        """Take what is trained and how; called at every start, after `rewind`."""

    def rewind(self, after: int) -> None:
        """Forget the rounds after ``after``: a crash lost them, and they come again."""

    def completed(self, result: RoundResult, left_out: int) -> None:
        """Take a completed round."""

    def finish(self, outcome: str) -> None:
        """Take the end: ``finished`` or ``failed``."""

    def close(self) -> None:
        """Write what is not written yet."""


def track(events: Iterable[Event], tracker: Tracker) -> History:
    """Hand a journal to a tracker, event by event; return what was folded."""
    view = History()
    for event in events:
        view.take(event)
        _hand_over(event, view, tracker)
    return view


def _hand_over(event: Event, view: History, tracker: Tracker) -> None:
    match event["event"]:
        case "training_started" | "training_resumed":
            tracker.rewind(view.resumed_after[-1] if view.resumed_after else 0)
            tracker.begin(view)
        case "round_completed":
            result = view.rounds.get(_number(event))
            if result:
                tracker.completed(result, len(view.absent.get(result.number, {})))
        case "training_finished":
            tracker.finish("finished")
        case "training_failed" | "training_gave_up":
            tracker.finish("failed")


def _number(event: Event) -> int:
    number = event.get("round")
    return number if isinstance(number, int) else 0


def scalars(result: RoundResult, left_out: int) -> dict[str, float]:
    """Return a round's numbers under the names that every tracker uses, for example ``central/loss``."""
    metrics = {f"{name.origin}/{name.name}": value for name, value in result.metrics.items()}
    return {
        **metrics,
        "round/seconds": result.seconds,
        "round/clients": float(result.valid),
        "round/left_out": float(left_out),
    }


def parameters(view: History) -> Mapping[str, Any]:
    """Return what the training was asked to do, by name."""
    settings = {str(row.get("variable")): row.get("value") for row in view.settings}
    return {
        "strategy": view.strategy,
        "app": view.app,
        "rounds": view.total,
        **view.parameters,
        **settings,
    }
