"""What a supervisor does next: a small state machine without a clock, a file or a process in it.

``step`` takes the machine and what has happened, and returns the machine and what is to be done about it.
``docs/recovery.md`` draws it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from oneflower.codes import GiveUpCode, LossCode, SupervisorState
from oneflower.words import counted

FIRST_DELAY_S: Final = 2.0
LONGEST_DELAY_S: Final = 30.0


# What the journal calls the states, and whoever reads it.
State = SupervisorState
ENDS: Final = frozenset({State.FINISHED, State.GIVEN_UP})


class Action(StrEnum):
    """What is to be done when a state is entered; NOTHING when the state stays."""

    NOTHING = "nothing"
    BRING_UP = "bring the SuperLink up"
    SUBMIT = "submit the app"
    FOLLOW = "follow the run"
    CLEAR = "end what is left of the run"
    PAUSE = "pause"
    REPORT = "say how it ended"


ENTRY: Final = {
    State.WAITING: Action.BRING_UP,
    State.SUBMITTING: Action.SUBMIT,
    State.TRAINING: Action.FOLLOW,
    State.LOST: Action.CLEAR,
    State.BACKING_OFF: Action.PAUSE,
    State.FINISHED: Action.REPORT,
    State.GIVEN_UP: Action.REPORT,
}


@dataclass(frozen=True, slots=True)
class SuperLinkUp:
    """The SuperLink answers."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """The SuperLink has taken the app as run number ``run``."""

    run: int


@dataclass(frozen=True, slots=True)
class RoundCompleted:
    """The run has completed a round: whatever was lost before, there is progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The run is gone, and may be submitted again.

    ``superlink`` says that the SuperLink itself is of no use any more.
    """

    reason: str
    code: LossCode = LossCode.OTHER
    superlink: bool = False

    @property
    def by_app(self) -> bool:
        """Whether the app ended with an exception that oneflower does not know."""
        return self.code is LossCode.APP_EXCEPTION

    @property
    def passing(self) -> bool:
        """Whether the ServerApp met an error of the environment."""
        return self.code is LossCode.ENVIRONMENT


@dataclass(frozen=True, slots=True)
class Finished:
    """The training is done."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The training cannot go on, for a reason that does not pass by itself."""

    reason: str


@dataclass(frozen=True, slots=True)
class Cleared:
    """Nothing is left of the run that was lost."""


@dataclass(frozen=True, slots=True)
class PauseOver:
    """The pause has ended."""


Input = SuperLinkUp | Submitted | RoundCompleted | Lost | Finished | Failed | Cleared | PauseOver


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A supervised training.

    Attributes
    ----------
    max_restarts
        Consecutive losses without a completed round that are tolerated (FL_MAX_RESTARTS).
    run
        The run that is followed, or is to be followed again; None when the app has to be submitted.
    losses
        Losses in a row without a completed round.
    progressed
        Whether the run has completed a round.
    restart
        Whether the SuperLink has to be restarted before the next submission.
    failure
        The app's own exception at the last loss; the same twice in a row is final.
    final
        Whether another try makes no sense.
    lenient
        Whether an exception of the app's own is tried once more: not where a person has submitted the run,
        who reads it, and submits what was mended.
    code, gave_up
        Why the last run was lost, and why no other is tried; None where that is not so.
    reason
        Why it stands where it stands, for people.
    """

    max_restarts: int
    state: State = State.WAITING
    run: int | None = None
    losses: int = 0
    progressed: bool = False
    restart: bool = False
    failure: str = ""
    final: bool = False
    lenient: bool = True
    code: LossCode | None = None
    gave_up: GiveUpCode | None = None
    reason: str = ""

    @property
    def delay_s(self) -> float:
        """The pause before the next try: none after the first loss, then 2, 4, 8, ... 30 s."""
        return min(FIRST_DELAY_S * 2.0 ** (self.losses - 2), LONGEST_DELAY_S) if self.losses > 1 else 0.0


def resumed(machine: Machine) -> Machine:
    """Return the machine as a supervisor that was killed takes it up again; what has ended stays ended."""
    return machine if machine.state in ENDS else replace(machine, state=State.WAITING)


def step(machine: Machine, event: Input) -> tuple[Machine, Action]:
    """Return where the training stands after something has happened, and what is to be done.

    What cannot happen in a state changes nothing: an ended training stays ended.
    """
    transition = TRANSITIONS.get((machine.state, type(event)))
    after = transition(machine, event) if transition else machine
    return after, Action.NOTHING if after.state is machine.state else ENTRY[after.state]


def _up(machine: Machine, _: SuperLinkUp) -> Machine:
    following = State.SUBMITTING if machine.run is None else State.TRAINING
    return replace(machine, state=following, restart=False)


def _submitted(machine: Machine, submitted: Submitted) -> Machine:
    return replace(machine, state=State.TRAINING, run=submitted.run, progressed=False)


def _progressed(machine: Machine, _: RoundCompleted) -> Machine:
    return replace(machine, losses=0, progressed=True, failure="", code=None, reason="")


def _finished(machine: Machine, _: Finished) -> Machine:
    return replace(machine, state=State.FINISHED, run=None, reason="")


def _failed(machine: Machine, failed: Failed) -> Machine:
    return replace(
        machine, state=State.GIVEN_UP, run=None, gave_up=GiveUpCode.FINAL_ERROR, reason=failed.reason
    )


def _lost(machine: Machine, lost: Lost) -> Machine:
    losses = 1 if machine.progressed else machine.losses + 1
    twice = lost.by_app and lost.reason == machine.failure
    again = twice or (lost.by_app and not machine.lenient)
    return replace(
        machine,
        state=State.LOST,
        losses=losses,
        progressed=False,
        # A SuperLink that loses one run after the other is restarted, too.
        restart=lost.superlink or (losses > 1 and not lost.by_app and not lost.passing),
        failure=lost.reason if lost.by_app else "",
        final=again or losses > machine.max_restarts,
        code=lost.code,
        gave_up=_gave_up(machine, losses, twice=twice, again=again),
        reason=f"the app failed twice in the same way: {lost.reason}" if twice else lost.reason,
    )


def _gave_up(machine: Machine, losses: int, *, twice: bool, again: bool) -> GiveUpCode | None:
    if again and not twice:
        return GiveUpCode.FINAL_ERROR
    if losses > machine.max_restarts:
        return GiveUpCode.TOO_MANY_RESTARTS
    return GiveUpCode.SAME_EXCEPTION if twice else None


def _judged(machine: Machine, _: Cleared) -> Machine:
    """Try again, unless that makes no sense any more."""
    cleared = replace(machine, run=None)
    if not machine.final:
        return replace(cleared, state=State.BACKING_OFF)
    many = (
        f"gave up after {counted(machine.max_restarts, 'restart')} in a row without a completed round "
        "(FL_MAX_RESTARTS). The last reason: "
        if machine.gave_up is GiveUpCode.TOO_MANY_RESTARTS
        else ""
    )
    return replace(cleared, state=State.GIVEN_UP, reason=f"{many}{machine.reason}")


def _again(machine: Machine, _: PauseOver) -> Machine:
    return replace(machine, state=State.WAITING)


# What is not listed cannot happen in that state, and changes nothing.
TRANSITIONS: Final[Mapping[tuple[State, type], Callable[[Machine, Any], Machine]]] = {
    (State.WAITING, SuperLinkUp): _up,
    (State.WAITING, Lost): _lost,
    (State.SUBMITTING, Submitted): _submitted,
    (State.SUBMITTING, Lost): _lost,
    (State.SUBMITTING, Failed): _failed,
    (State.TRAINING, RoundCompleted): _progressed,
    (State.TRAINING, Lost): _lost,
    (State.TRAINING, Finished): _finished,
    (State.TRAINING, Failed): _failed,
    (State.LOST, Cleared): _judged,
    (State.BACKING_OFF, PauseOver): _again,
}
