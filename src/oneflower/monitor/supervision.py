"""What keeps the training alive, and what it waits for: the supervisor as its journal's events tell it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from oneflower.journal import SupervisorState
from oneflower.monitor.lines import duration
from oneflower.monitor.view import TrainingView

# The supervisor's first words give no reason for anything.
NO_REASON: Final = frozenset({"", "the supervisor has started"})
STYLES: Final[Mapping[str, str]] = {
    SupervisorState.TRAINING: "live",
    SupervisorState.SUBMITTING: "live",
    SupervisorState.FINISHED: "good",
    SupervisorState.GIVEN_UP: "bad",
}
# What each state waits for; the others wait for nothing.
AWAITED: Final[Mapping[str, str]] = {
    SupervisorState.WAITING: "the SuperLink to answer",
    SupervisorState.SUBMITTING: "the SuperLink to take the app",
    SupervisorState.LOST: "what is left of the lost run to end",
    SupervisorState.BACKING_OFF: "the pause before the next try to end",
}
DOING: Final[Mapping[str, str]] = {
    SupervisorState.TRAINING: "follows the run",
    SupervisorState.FINISHED: "is done: the training has finished",
    SupervisorState.GIVEN_UP: "starts it no more: mend the cause, then start the training again",
}

RETURNS: Final = frozenset({SupervisorState.SUBMITTING, SupervisorState.TRAINING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """The supervisor at one moment.

    Attributes
    ----------
    state
        One of `SupervisorState`, or what another version may call a state.
    style
        live, good, warn or bad.
    doing
        What it does or waits for, as the rest of a sentence that begins with "The supervisor".
    reason, label
        Why it stands where it stands, and what that is to it; empty where all is well.
    since, next_try
        When it came there, and when its pause ends; None where that is not known, or there is none.
    restarts
        How often the training was started again.
    """

    state: str
    style: str
    doing: str
    reason: str
    label: str
    since: datetime | None
    next_try: datetime | None
    restarts: str


def supervision(view: TrainingView) -> Supervision | None:
    """Return what the supervisor does; None for a training without one."""
    if not view.supervisor:
        return None
    return Supervision(
        state=view.supervisor,
        style=STYLES.get(view.supervisor, "warn"),
        doing=_doing(view),
        reason="" if view.supervisor_reason in NO_REASON else view.supervisor_reason,
        label="Comes back from" if view.supervisor in RETURNS else "Reason",
        since=view.supervisor_since,
        next_try=_next_try(view),
        restarts=_restarts(view),
    )


def _doing(view: TrainingView) -> str:
    if view.supervisor == SupervisorState.BACKING_OFF:
        return f"pauses for {duration(view.delay_s)}, then tries again"
    awaited = AWAITED.get(view.supervisor)
    return f"waits for {awaited}" if awaited else DOING.get(view.supervisor, "watches the training")


def _next_try(view: TrainingView) -> datetime | None:
    if view.supervisor != SupervisorState.BACKING_OFF or view.supervisor_since is None:
        return None
    return view.supervisor_since + timedelta(seconds=view.delay_s)


def _restarts(view: TrainingView) -> str:
    if not view.restarts:
        return "no restart so far"
    whole = f"{view.restarts} restart{'s' if view.restarts > 1 else ''} so far"
    return f"{whole}{_in_a_row(view)}" if view.losses_in_a_row else whole


def _in_a_row(view: TrainingView) -> str:
    rows = (row for row in view.settings if row.get("variable") == "FL_MAX_RESTARTS")
    most = next((f" of {row.get('value')} that are borne" for row in rows), "")
    return f", {view.losses_in_a_row}{most} in a row without a completed round"
