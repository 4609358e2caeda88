"""What a journal tells of a training, typed: rounds, checkpoints, clients, and moments worth a mark."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple, Optional, TypeVar

from oneflower.codes import LeftOutCode, Outcome
from oneflower.journal.events import Entry, Event
from oneflower.quality import Measure

if TYPE_CHECKING:
    from oneflower.journal.state.gpus import ClientGpus

T = TypeVar("T")

STRIP_ROUNDS: Final = 40
"""A client's rounds are kept this far back: enough for a strip that a person can read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundResult:
    """A completed round. ``metrics`` are its finite numbers."""

    number: int
    valid: int
    seconds: float
    metrics: Mapping[Measure, float]
    time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedCheckpoint:
    """A checkpoint that was committed."""

    number: int
    file: str
    size_bytes: int
    sha256: str
    seconds: float = 0.0
    time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A client that a round went on without, and why: its update was bad, or there was none."""

    number: int
    client: str
    code: LeftOutCode
    reason: str
    outcome: Outcome
    time: datetime | None = None


@dataclass(slots=True, kw_only=True)
class OwnLoop:
    """What an app has done that sends its messages by itself.

    Attributes
    ----------
    recorded
        How many replies were in the recording when the app was started last.
    path, size_bytes
        Of the recording; the path is None where there is none.
    trouble
        Why the recording stopped, or was not used; empty if nothing of that happened.
    """

    exchanges: int = 0
    replies: int = 0
    failed: int = 0
    quarantined: int = 0
    recorded: int = 0
    path: str | None = None
    size_bytes: int = 0
    trouble: str = ""
    finished: bool = False

    @property
    def messages(self) -> int:
        """How many messages the app has sent, as far as something has come of them."""
        return self.replies + self.failed + self.quarantined


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregated:
    """A round whose updates have become the model. ``seconds`` is from its start to there."""

    valid: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """An event that changed the course of a training, and where it lies on the axis of rounds.

    ``position`` is a round number; what happened during a round lies half a round before its end.
    """

    entry: Entry
    position: float

    @property
    def event(self) -> Event:
        """The event."""
        return self.entry.event

    @property
    def time(self) -> datetime | None:
        """When it was written."""
        return self.entry.time


class Measured(NamedTuple):
    """What a client's update of one round showed; NaN where that is not known.

    Attributes
    ----------
    distance
        To the new model; infinite where it is too large to be written.
    change
        The norm of its change in medians of the round; infinite as above.
    weight
        In the new model.
    used
        Whether the rule used it; None where that is not known.
    """

    distance: float
    change: float
    weight: float
    used: bool | None


@dataclass(slots=True)
class Client:
    """One client as its answers show it.

    Attributes
    ----------
    name
        Flower's id of the node, which is another at every registration.
    label
        What the client calls itself, which stays the same; empty where it has not said.
    partition
        Its part of the data, where it has said.
    connected
        None where the journal does not tell of joining and leaving.
    gone
        It was there under an earlier start, and has not been heard of since.
    gpus
        None where it has none, or FL_GPU_ENABLED is NO.
    """

    name: str
    label: str = ""
    partition: int | None = None
    joined: datetime | None = None
    last_seen: datetime | None = None
    trained: int = 0
    failures: int = 0
    quarantines: int = 0
    last_reason: str = ""
    last_code: LeftOutCode | None = None
    train_seconds: float | None = None
    connected: bool | None = None
    gone: bool = False
    rounds: dict[int, Outcome] = field(default_factory=dict)
    measured: dict[int, Measured] = field(default_factory=dict)
    gpus: Optional["ClientGpus"] = None

    def note(self, number: int, outcome: Outcome) -> None:
        """Remember how a round went for this client; what it did last in a round counts."""
        _keep(self.rounds, number, outcome)

    def measure(self, number: int, measured: Measured) -> None:
        """Remember what its update of a round showed."""
        _keep(self.measured, number, measured)

    @property
    def is_here(self) -> bool:
        """Whether it is connected, as far as the journal tells."""
        return bool(self.connected) and not self.gone

    @property
    def shown(self) -> str:
        """What people read: what it calls itself, else Flower's id."""
        return self.label or self.name

    def come_back_as(self, other: "Client") -> None:
        """Hand this client's history to `other`, which is the same machine under a later id."""
        other.joined = self.joined or other.joined
        other.trained += self.trained
        other.failures += self.failures
        other.quarantines += self.quarantines
        other.last_reason = other.last_reason or self.last_reason
        other.last_code = other.last_code or self.last_code
        own, other.rounds = other.rounds, dict(self.rounds)
        for number, outcome in own.items():
            other.note(number, outcome)
        if self.gpus is not None:
            gone = self.gpus.before_any_reading()
            other.gpus = gone if other.gpus is None else other.gpus.after(gone)
        shown, other.measured = other.measured, dict(self.measured)
        for number, measured in shown.items():
            other.measure(number, measured)

    def seen(self, time: datetime | None) -> None:
        """Remember that it was heard."""
        self.gone = False
        if self.joined is None:
            self.joined = time
        self.last_seen = time


def _keep(rounds: dict[int, T], number: int, what: T) -> None:
    """Put what belongs to a round behind the others, and drop the first of too many."""
    rounds.pop(number, None)
    rounds[number] = what
    if len(rounds) > STRIP_ROUNDS:
        del rounds[next(iter(rounds))]
