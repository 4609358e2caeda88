"""Events of processes, and of the supervisor that keeps them alive."""

from dataclasses import dataclass
from typing import ClassVar

from oneflower.codes import (
    GiveUpCode,
    LossCode,
    RefusalCode,
    StallAct,
    StallCode,
    Submitter,
    SupervisorState,
)
from oneflower.journal.events.base import Event
from oneflower.kinds import ErrorKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStarted(Event):
    """`oneflower up`: the SuperLink and its SuperNodes are online."""

    nodes: int
    fleet: str = ""
    tag: ClassVar[str] = "cluster_started"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingInterrupted(Event):
    """`oneflower up` or `simulate` was ended by Ctrl-C or a signal; the same command resumes the training."""

    tag: ClassVar[str] = "training_interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessDied(Event):
    """`oneflower up`: a process beside the SuperLink has ended; it is started again."""

    role: str
    reason: str
    tag: ClassVar[str] = "process_died"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStarted(Event):
    """`oneflower up`: the process runs again."""

    role: str
    tag: ClassVar[str] = "process_started"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStalled(Event):
    """A process was stopped by a signal, or hung; `done` is what was done to it."""

    role: str
    done: StallAct
    code: StallCode = StallCode.OTHER
    reason: str
    tag: ClassVar[str] = "process_stalled"


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRefused(Event):
    """A SuperNode was not let in; `count` is how many since the last such event, of which this is the last.

    `key` is the fingerprint of the key that it showed, `vm` the VM whose name it came in.
    """

    code: RefusalCode = RefusalCode.OTHER
    key: str = ""
    vm: str = ""
    count: int = 1
    reason: str
    tag: ClassVar[str] = "join_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorMoved(Event):
    """The supervisor is in another [state](recovery.md)."""

    state: SupervisorState
    reason: str = ""
    tag: ClassVar[str] = "supervisor_state"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSubmitted(Event):
    """The app was submitted to the SuperLink as the line's `run`; events after it are this run's.

    `by` a person: somebody submitted it with `flwr run`, and the supervisor keeps it alive from here on.
    """

    app: str = ""
    by: Submitter = Submitter.SUPERVISOR
    tag: ClassVar[str] = "run_submitted"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLetGo(Event):
    """The supervisor keeps the line's `run` alive no longer: `oneflower supervise --forget RUN`."""

    tag: ClassVar[str] = "run_let_go"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppUnusable(Event):
    """The app that is to be trained cannot be used: nothing was submitted.

    `kind` environment: it is looked for again, because it is not there yet or cannot be fetched now.
    """

    app: str = ""
    kind: ErrorKind | None = None
    reason: str
    tag: ClassVar[str] = "app_unusable"

    @property
    def words(self) -> str:
        """What is the matter, for people."""
        return self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLost(Event):
    """The run is gone; it is submitted again after `delay_s`.

    `restarts` counts the losses since the last completed round.
    """

    code: LossCode = LossCode.OTHER
    reason: str
    restarts: int = 0
    delay_s: float = 0.0
    tag: ClassVar[str] = "run_lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingGaveUp(Event):
    """The supervisor stops trying."""

    code: GiveUpCode = GiveUpCode.OTHER
    reason: str
    restarts: int = 0
    tag: ClassVar[str] = "training_gave_up"

    @property
    def words(self) -> str:
        """What happened, for people."""
        return self.reason
