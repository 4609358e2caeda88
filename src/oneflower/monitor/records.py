"""What a training has left in its journal, typed: rounds, checkpoints, clients, and moments worth a mark."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Self

from oneflower.quality import ORIGINS, Measure, flat

Event = Mapping[str, Any]

# A client's rounds are kept this far back: enough for a strip that a person can read.
STRIP_ROUNDS: Final = 40

ANSWERED: Final = "answered"
FAILED: Final = "failed"
QUARANTINED: Final = "quarantined"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundResult:
    """A completed round. ``metrics`` are numbers by ``origin metric``, for example ``central loss``."""

    number: int
    valid: int
    seconds: float
    metrics: Mapping[Measure, float]
    time: datetime | None = None

    @classmethod
    def of(cls, event: Event, time: datetime | None) -> Self:
        """Read a ``round_completed``."""
        return cls(
            number=int(event["round"]),
            valid=int(event.get("valid", 0)),
            seconds=float(event.get("seconds", 0.0)),
            metrics=flat({origin: event.get(f"{origin}_metrics") for origin in ORIGINS}),
            time=time,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedCheckpoint:
    """A checkpoint that was committed."""

    number: int
    file: str
    size_bytes: int
    sha256: str
    seconds: float = 0.0
    time: datetime | None = None

    @classmethod
    def of(cls, event: Event, time: datetime | None) -> Self:
        """Read a ``checkpoint_saved``."""
        return cls(
            number=int(event["round"]),
            file=str(event.get("file", "")),
            size_bytes=int(event.get("bytes", 0)),
            sha256=str(event.get("sha256", "")),
            seconds=float(event.get("seconds", 0.0)),
            time=time,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A client that a round went on without, and why: its update was bad, or there was none."""

    number: int
    client: str
    reason: str
    outcome: str = FAILED
    time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """An event that changed the course of a training, and where it lies on the axis of rounds.

    ``position`` is a round number; what happened during a round lies half a round before its end.
    """

    event: Event
    position: float
    time: datetime | None

    @property
    def name(self) -> str:
        """The event's name."""
        return str(self.event["event"])


@dataclass(slots=True)
class Client:
    """One client as its answers show it. Flower gives a node a new id at every registration.

    ``connected`` is None where the journal does not tell of joining and leaving.
    """

    name: str
    joined: datetime | None = None
    last_seen: datetime | None = None
    trained: int = 0
    failures: int = 0
    quarantines: int = 0
    last_reason: str = ""
    train_seconds: float | None = None
    connected: bool | None = None
    rounds: dict[int, str] = field(default_factory=dict)

    def note(self, number: int, outcome: str) -> None:
        """Remember how a round went for this client; what it did last in a round counts."""
        rounds = self.rounds
        rounds.pop(number, None)
        rounds[number] = outcome
        if len(rounds) > STRIP_ROUNDS:
            del rounds[next(iter(rounds))]

    def seen(self, time: datetime | None) -> None:
        """Remember that it was heard."""
        if self.joined is None:
            self.joined = time
        self.last_seen = time
