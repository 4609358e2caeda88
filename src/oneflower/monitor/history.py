"""The journal's events folded into what a training looks like now: one reading for all that report it."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

# Where a metric was measured, the most telling first: on held-out data, by the clients, while they trained.
ORIGINS = ("central", "evaluate", "train")
# Time left is told from the pace of the last rounds.
PACE_ROUNDS = 5

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundResult:
    """A completed round. ``metrics`` are numbers by ``origin metric``, for example ``central loss``."""

    number: int
    valid: int
    seconds: float
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedCheckpoint:
    """A checkpoint that was committed."""

    number: int
    file: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A client that a round went on without, and why."""

    number: int
    client: str
    reason: str


@dataclass(slots=True)
class History:
    """The state of a training; ``take`` its events in order.

    A training that starts from round 1 again forgets what was before; one that resumes after round k
    forgets the rounds after k, which are trained again.
    """

    total: int = 0
    started_round: int = 0
    clients: int = 0
    replies: int = 0
    waiting: str = ""
    strategy: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    app: str = ""
    rounds: dict[int, RoundResult] = field(default_factory=dict)
    checkpoints: dict[int, SavedCheckpoint] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    resumed_after: list[int] = field(default_factory=list)
    failed_rounds: int = 0
    restarts: int = 0
    finish: Event | None = None
    failure: str = ""
    first_time: datetime | None = None
    last_time: datetime | None = None

    @property
    def done(self) -> int:
        """The last completed round, 0 before the first."""
        return max(self.rounds, default=0)

    def take(self, event: Event) -> None:
        """Fold in one event; unknown ones, and fields that are missing, are left alone."""
        self._note_time(event.get("time"))
        # A line that another version wrote, or a disk damaged, must not end a training that goes well.
        with suppress(KeyError, TypeError, ValueError, AttributeError):
            self._take(event)

    def left_s(self) -> float | None:
        """Estimate the seconds to the end from the pace of the last rounds; None without any."""
        recent = [self.rounds[number].seconds for number in sorted(self.rounds)[-PACE_ROUNDS:]]
        if not recent or not self.total:
            return None
        return sum(recent) / len(recent) * max(0, self.total - self.done)

    def metric_names(self) -> list[str]:
        """Return the names of all metrics, the most telling origin first."""
        names = {name for result in self.rounds.values() for name in result.metrics}
        return sorted(names, key=lambda name: (ORIGINS.index(name.split()[0]), name))

    def headline(self, number: int) -> dict[str, float]:
        """Return the loss and the accuracy of a round, each from the most telling origin that has it."""
        found: dict[str, float] = {}
        metrics = self.rounds[number].metrics if number in self.rounds else {}
        for family in ("loss", "accuracy"):
            for name in (n for n in self.metric_names() if family in n.lower() and n in metrics):
                found.setdefault(family, metrics[name])
        return found

    def _take(self, event: Event) -> None:  # noqa: C901 - one case an event
        match event["event"]:
            case "training_started":
                self._started(event)
            case "training_resumed":
                self._resumed(event)
            case "waiting_for_clients":
                self.waiting = f"{event['connected']} of {event['needed']} clients are connected"
            case "round_started":
                self._round_started(event)
            case "reply_received":
                self.replies += event.get("phase", "train") == "train"
            case "client_quarantined" | "client_failed":
                self._client_left_out(event)
            case "round_failed":
                self.failed_rounds += 1
            case "round_completed":
                self._round_completed(event)
            case "checkpoint_saved":
                self._checkpoint_saved(event)
            case "training_finished":
                self.finish, self.waiting = event, ""
            case "training_failed":
                self.failure, self.waiting = str(event["reason"]), ""
            case "training_lost":
                self.restarts += 1

    def _note_time(self, text: object) -> None:
        try:
            time = datetime.fromisoformat(str(text))
        except ValueError:
            return
        self.first_time = self.first_time or time
        self.last_time = time

    def _begin(self, event: Event) -> None:
        self.strategy, self.app = str(event.get("strategy", "")), str(event.get("app", ""))
        self.parameters = event.get("parameters") or {}
        self.total = int(event.get("rounds", 0))
        self.waiting, self.failure, self.finish = "", "", None

    def _started(self, event: Event) -> None:
        self._begin(event)
        self.rounds.clear()
        self.checkpoints.clear()
        self.left_out.clear()
        self.resumed_after.clear()

    def _resumed(self, event: Event) -> None:
        self._begin(event)
        after = int(event.get("round", 0))
        self.resumed_after.append(after)
        for kept in (self.rounds, self.checkpoints):
            for number in [number for number in kept if number > after]:
                del kept[number]

    def _round_started(self, event: Event) -> None:
        self.started_round, self.clients = int(event["round"]), int(event.get("clients", 0))
        self.total = int(event.get("rounds", self.total))
        self.replies, self.waiting = 0, ""

    def _client_left_out(self, event: Event) -> None:
        self.left_out.append(
            LeftOut(
                number=int(event.get("round", 0)),
                client=str(event.get("client", "?")),
                reason=str(event.get("reason", "")),
            )
        )

    def _round_completed(self, event: Event) -> None:
        number = int(event["round"])
        metrics = {
            f"{origin} {name}": float(value)
            for origin in ORIGINS
            for name, value in (event.get(f"{origin}_metrics") or {}).items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        self.rounds[number] = RoundResult(
            number=number,
            valid=int(event.get("valid", 0)),
            seconds=float(event.get("seconds", 0.0)),
            metrics=metrics,
        )

    def _checkpoint_saved(self, event: Event) -> None:
        number = int(event["round"])
        self.checkpoints[number] = SavedCheckpoint(
            number=number,
            file=str(event.get("file", "")),
            size_bytes=int(event.get("bytes", 0)),
            sha256=str(event.get("sha256", "")),
        )


def fold(events: Iterable[Event]) -> History:
    """Fold a whole journal."""
    history = History()
    for event in events:
        history.take(event)
    return history
