"""What keeps the training alive, and what it waits for: the supervisor, by its events."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from oneflower.codes import STILL, SupervisorState
from oneflower.journal import TrainingState
from oneflower.monitor.text.values import duration

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
    SupervisorState.GIVEN_UP: "restarts it no more: fix the cause, then start the training again",
}

# A training that is silent for so long, and for so many of its usual rounds, may hang or be gone.
SILENT_S: Final = 120.0
SILENT_ROUNDS: Final = 3.0
RETURNS: Final = frozenset({SupervisorState.SUBMITTING, SupervisorState.TRAINING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """The supervisor at one moment.

    Attributes
    ----------
    state
        Its state.
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

    state: SupervisorState
    style: str
    doing: str
    reason: str
    label: str
    since: datetime | None
    next_try: datetime | None
    restarts: str


def supervision(view: TrainingState) -> Supervision | None:
    """Return what the supervisor does; None for a training without one."""
    if view.supervisor is None:
        return None
    return Supervision(
        state=view.supervisor,
        style=STYLES.get(view.supervisor, "warn"),
        doing=_doing(view, view.supervisor),
        reason=view.supervisor_reason,
        label="Restarted after" if view.supervisor in RETURNS else "Reason",
        since=view.supervisor_since,
        next_try=_next_try(view),
        restarts=_restarts(view),
    )


def _doing(view: TrainingState, state: SupervisorState) -> str:
    if state is SupervisorState.BACKING_OFF:
        return f"pauses for {duration(view.delay_s)}, then tries again"
    awaited = AWAITED.get(state)
    return f"waits for {awaited}" if awaited else DOING[state]


def _next_try(view: TrainingState) -> datetime | None:
    if view.supervisor is not SupervisorState.BACKING_OFF or view.supervisor_since is None:
        return None
    return view.supervisor_since + timedelta(seconds=view.delay_s)


def _restarts(view: TrainingState) -> str:
    if not view.restarts:
        return "no restart so far"
    whole = f"{view.restarts} restart{'s' if view.restarts > 1 else ''} so far"
    return f"{whole}{_in_a_row(view)}" if view.losses_in_a_row else whole


def _in_a_row(view: TrainingState) -> str:
    rows = (row for row in view.settings if row.variable == "FL_MAX_RESTARTS")
    most = next((f" of {row.value} allowed" for row in rows), "")
    return f", {view.losses_in_a_row}{most} in a row without a completed round"


def silence_s(state: TrainingState, now: datetime) -> float | None:
    """Return for how long nothing was written, where that is longer than the training's pace explains."""
    if state.phase in STILL or state.last_time is None:
        return None
    silent_s = (now - state.last_time).total_seconds()
    usual_s = state.rounds[state.done].seconds if state.rounds else 0.0
    return silent_s if silent_s > max(SILENT_S, SILENT_ROUNDS * usual_s) else None
