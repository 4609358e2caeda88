"""Journals of schema 1, and those from before events had owners: one step from their lines to schema 2.

Schema 1 gave states as prose and reasons as text alone. What the text says is read here, and nowhere else.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from oneflower.codes import (
    GiveUpCode,
    LeftOutCode,
    LossCode,
    RoundFailure,
    StallCode,
    SupervisorState,
)
from oneflower.quality import ORIGINS

FIRST_SCHEMA: Final = 1

Record = Mapping[str, Any]
Words = tuple[tuple[str, tuple[str, ...]], ...]

STATES: Final[Mapping[str, str]] = {
    "waiting for the SuperLink": SupervisorState.WAITING,
    "backing off": SupervisorState.BACKING_OFF,
    "given up": SupervisorState.GIVEN_UP,
}
"""The states that schema 1 wrote in other words; ``training.json`` did so, too."""
# The first code of which a word stands in the reason.
_LEFT_OUT: Final[Words] = (
    (LeftOutCode.NOT_FINITE, ("NaN or infinity",)),
    (LeftOutCode.NUM_EXAMPLES, ("num-examples",)),
    (LeftOutCode.SHAPE, ("has shape",)),
    (LeftOutCode.DTYPE, ("has dtype",)),
    (LeftOutCode.ARRAY_NAMES, ("missing; expected the model's", "not in the model")),
    (LeftOutCode.METRICS, ("metric records", "metrics ")),
    (LeftOutCode.NO_ANSWER, ("no answer",)),
    (LeftOutCode.APP_EXCEPTION, ("<class", "raised", "the client failed")),
    (LeftOutCode.UNAVAILABLE, ("navailable",)),
    (LeftOutCode.FORM, ("the reply", "array ")),
)
_ROUND_FAILED: Final[Words] = (
    (RoundFailure.FEW_CLIENTS, ("clients connected",)),
    (RoundFailure.FEW_UPDATES, ("valid updates", "valid answers")),
    (RoundFailure.NO_MODEL, ("gave no model",)),
)
_LOST: Final[Words] = (
    (LossCode.RUN_FORGOTTEN, ("knows no run",)),
    (LossCode.SUPERLINK_RESTARTED, ("has forgotten the run",)),
    (LossCode.EXECUTOR_ENDED, ("executor has ended",)),
    (LossCode.SUPERLINK_DOWN, ("SuperLink has ended", "superlink has ended")),
    (LossCode.RUN_NOT_TAKEN, ("no executor has taken",)),
    (LossCode.APP_NOT_STARTED, ("no ServerApp has started",)),
    (LossCode.APP_SILENT, ("done nothing for", "has heard nothing")),
    (LossCode.APP_ENDED, ("process has ended",)),
    (LossCode.APP_EXCEPTION, ("app raised",)),
)
_GAVE_UP: Final[Words] = (
    (GiveUpCode.TOO_MANY_RESTARTS, ("restarts in a row",)),
    (GiveUpCode.SAME_EXCEPTION, ("twice in the same way",)),
)
_STALLED: Final[Words] = (
    (StallCode.STOPPED_AGAIN, ("once more",)),
    (StallCode.STOPPED, ("stopped by a signal",)),
    (StallCode.HANGS, ("hangs",)),
)


def migrated(record: Record) -> Record:
    """Return a line of schema 1 as one of schema 2; a null says nothing there, and is left out."""
    if None in record.values():
        record = {key: value for key, value in record.items() if value is not None}
    step = _STEPS.get(record["event"])
    return record if step is None else {**record, **step(record)}


def _coded(words: Words, other: str) -> Callable[[Record], Record]:
    """Return a step that adds the code of a reason."""

    def step(record: Record) -> Record:
        reason = str(record.get("reason", ""))
        return {"code": next((code for code, some in words if any(word in reason for word in some)), other)}

    return step


def _supervisor(record: Record) -> Record:
    state, reason = record.get("state"), record.get("reason", "")
    code = STATES.get(state, state) if isinstance(state, str) else state
    return {"state": code, "reason": "" if reason == "the supervisor has started" else reason}


def _completed(record: Record) -> Record:
    """Leave out what earlier versions took for metrics and is none."""
    found: dict[str, Any] = {}
    for origin in ORIGINS:
        given = record.get(f"{origin}_metrics", {})
        found[f"{origin}_metrics"] = {name: value for name, value in given.items() if _is_metric(value)}
    return found


def _is_metric(value: Any) -> bool:
    if isinstance(value, list):
        return all(not isinstance(item, list) and _is_metric(item) for item in value)
    if value is None:
        return True
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and -sys.float_info.max <= value <= sys.float_info.max


def _left_out(record: Record) -> Record:
    reason = str(record.get("reason", ""))
    return {"reason": reason, "client": str(record["client"]), **_LEFT_OUT_CODE(record)}


_LEFT_OUT_CODE: Final = _coded(_LEFT_OUT, LeftOutCode.OTHER)
_STEPS: Final[Mapping[str, Callable[[Record], Record]]] = {
    "client_failed": _left_out,
    "client_quarantined": _left_out,
    "round_failed": _coded(_ROUND_FAILED, RoundFailure.OTHER),
    "round_completed": _completed,
    "run_lost": _coded(_LOST, LossCode.OTHER),
    "training_gave_up": _coded(_GAVE_UP, GiveUpCode.FINAL_ERROR),
    "process_stalled": _coded(_STALLED, StallCode.OTHER),
    "supervisor_state": _supervisor,
}
