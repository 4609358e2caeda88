"""The codes that events carry: states, and reasons as programs compare them. `text` is how people read them.

A code is decided where the fact is found and never read back from a text beside it.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    """What a training is doing."""

    NOTHING = "nothing"
    STARTING = "starting"
    WAITING = "waiting"
    TRAINING = "training"
    EVALUATING = "evaluating"
    BETWEEN = "between"
    SAVING = "saving"
    RESTARTING = "restarting"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


ENDED: Final = frozenset({Phase.FINISHED, Phase.FAILED})
"""The phases after which nothing comes, unless somebody starts the training again."""
STOPPED: Final = ENDED | {Phase.INTERRUPTED}
"""The phases in which nothing is waited for."""
STILL: Final = STOPPED | {Phase.NOTHING}
"""The phases in which nothing is being done."""


class SupervisorState(StrEnum):
    """The state of a supervised training."""

    WAITING = "waiting"
    SUBMITTING = "submitting"
    TRAINING = "training"
    LOST = "lost"
    BACKING_OFF = "backing_off"
    FINISHED = "finished"
    GIVEN_UP = "given_up"


class Submitter(StrEnum):
    """Who submitted a run."""

    SUPERVISOR = "supervisor"
    PERSON = "person"
    OTHER = "other"


class Task(StrEnum):
    """What the server asks of its clients."""

    QUERY = "query"
    TRAIN = "train"
    EVALUATE = "evaluate"


class Outcome(StrEnum):
    """How a round went for one client."""

    ANSWERED = "answered"
    FAILED = "failed"
    QUARANTINED = "quarantined"


class LeftOutCode(StrEnum):
    """Why a round goes on without a client, or without a part of what it sent."""

    NOT_FINITE = "not_finite"
    NUM_EXAMPLES = "num_examples"
    SHAPE = "shape"
    DTYPE = "dtype"
    ARRAY_NAMES = "array_names"
    CHANGE = "change"
    METRICS = "metrics"
    NO_ANSWER = "no_answer"
    APP_EXCEPTION = "app_exception"
    UNAVAILABLE = "unavailable"
    FORM = "form"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    OTHER = "other"


class RoundFailure(StrEnum):
    """Why a try of a round gave no new model."""

    FEW_CLIENTS = "few_clients"
    FEW_UPDATES = "few_updates"
    NO_MODEL = "no_model"
    OTHER = "other"


class LossCode(StrEnum):
    """Why a run was lost."""

    SUPERLINK_DOWN = "superlink_down"
    SUPERLINK_SILENT = "superlink_silent"
    SUPERLINK_RESTARTED = "superlink_restarted"
    RUN_FORGOTTEN = "run_forgotten"
    RUN_NOT_SUBMITTED = "run_not_submitted"
    RUN_NOT_TAKEN = "run_not_taken"
    EXECUTOR_ENDED = "executor_ended"
    APP_NOT_STARTED = "app_not_started"
    APP_ENDED = "app_ended"
    APP_SILENT = "app_silent"
    APP_EXCEPTION = "app_exception"
    ENVIRONMENT = "environment"
    OTHER = "other"


class GiveUpCode(StrEnum):
    """Why a supervisor stops trying."""

    TOO_MANY_RESTARTS = "too_many_restarts"
    SAME_EXCEPTION = "same_exception"
    FINAL_ERROR = "final_error"
    OTHER = "other"


class StallCode(StrEnum):
    """Why a process does not move."""

    STOPPED = "stopped"
    STOPPED_AGAIN = "stopped_again"
    HANGS = "hangs"
    OTHER = "other"


class StallAct(StrEnum):
    """What was done to a process that does not move."""

    CONTINUED = "continued"
    ENDED = "ended"


class RefusalCode(StrEnum):
    """Why a SuperNode may not join."""

    UNKNOWN_KEY = "unknown_key"
    KEY_CHANGED = "key_changed"
    KEY_IN_USE = "key_in_use"
    OTHER = "other"


KEY_ALARMS: Final = frozenset({RefusalCode.KEY_CHANGED, RefusalCode.KEY_IN_USE})
"""Refusals that may mean that somebody else speaks in a SuperNode's name."""


class StopReason(StrEnum):
    """Why a training ended before its last round."""

    NO_IMPROVEMENT = "no_improvement"
    TARGET_REACHED = "target_reached"
    OTHER = "other"


TEXTS: Final[Mapping[type[StrEnum], Mapping[str, str]]] = {
    Phase: {
        Phase.NOTHING: "nothing yet",
        Phase.WAITING: "waiting for clients",
        Phase.BETWEEN: "between rounds",
    },
    SupervisorState: {
        SupervisorState.WAITING: "waiting for the SuperLink",
        SupervisorState.BACKING_OFF: "backing off",
        SupervisorState.GIVEN_UP: "given up",
    },
    LeftOutCode: {
        LeftOutCode.NOT_FINITE: "NaN or infinity",
        LeftOutCode.NUM_EXAMPLES: "number of examples",
        LeftOutCode.SHAPE: "array shape",
        LeftOutCode.DTYPE: "array dtype",
        LeftOutCode.ARRAY_NAMES: "array names",
        LeftOutCode.CHANGE: "size of the change",
        LeftOutCode.NO_ANSWER: "no answer",
        LeftOutCode.APP_EXCEPTION: "exception in the ClientApp",
        LeftOutCode.FORM: "malformed reply",
        LeftOutCode.UNREADABLE: "unreadable reply",
        LeftOutCode.TOO_LARGE: "reply too large",
    },
    RoundFailure: {
        RoundFailure.FEW_CLIENTS: "too few clients connected",
        RoundFailure.FEW_UPDATES: "too few valid updates",
        RoundFailure.NO_MODEL: "the strategy gave no model",
    },
    LossCode: {
        LossCode.SUPERLINK_DOWN: "the SuperLink is down",
        LossCode.SUPERLINK_SILENT: "the SuperLink does not answer",
        LossCode.SUPERLINK_RESTARTED: "the SuperLink was restarted",
        LossCode.RUN_FORGOTTEN: "the SuperLink does not know the run",
        LossCode.RUN_NOT_SUBMITTED: "the app could not be submitted",
        LossCode.RUN_NOT_TAKEN: "no executor took the run",
        LossCode.EXECUTOR_ENDED: "the SuperLink's executor has ended",
        LossCode.APP_NOT_STARTED: "the ServerApp did not start",
        LossCode.APP_ENDED: "the ServerApp's process has ended",
        LossCode.APP_SILENT: "the ServerApp is silent",
        LossCode.APP_EXCEPTION: "exception in the ServerApp",
        LossCode.ENVIRONMENT: "error of the environment",
    },
    GiveUpCode: {
        GiveUpCode.TOO_MANY_RESTARTS: "too many restarts",
        GiveUpCode.SAME_EXCEPTION: "the same exception twice",
        GiveUpCode.FINAL_ERROR: "an error that does not pass",
    },
    StallCode: {
        StallCode.STOPPED: "stopped by a signal",
        StallCode.STOPPED_AGAIN: "stopped by a signal twice",
    },
    RefusalCode: {
        RefusalCode.UNKNOWN_KEY: "its key is not known",
        RefusalCode.KEY_CHANGED: "another key for a known VM",
        RefusalCode.KEY_IN_USE: "two processes use one key",
    },
    StopReason: {
        StopReason.NO_IMPROVEMENT: "no improvement",
        StopReason.TARGET_REACHED: "target reached",
    },
}
"""The display text of every code that is not its own text."""


def text(code: StrEnum) -> str:
    """Return how people read a code."""
    return TEXTS.get(type(code), {}).get(code, code.value)
