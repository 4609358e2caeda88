"""What a training looks like at one moment: what everything that reports it reads."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from oneflower.monitor import measures
from oneflower.monitor.records import Client, Event, LeftOut, Moment, RoundResult, SavedCheckpoint
from oneflower.quality import AUTOMATIC, Measure, Wanted, best_of, in_order, label

# Time left is told from the pace of the last rounds.
PACE_ROUNDS: Final = 5
# A journal may hold years of a service; a page shows the newest of it.
MOST_MOMENTS: Final = 500


class Phase(StrEnum):
    """What a training does at the moment, as far as its journal tells."""

    NOTHING = "nothing yet"
    STARTING = "starting"
    WAITING = "waiting for clients"
    TRAINING = "training"
    EVALUATING = "evaluating"
    BETWEEN = "between rounds"
    SAVING = "saving"
    RESTARTING = "restarting"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(slots=True)
class TrainingView:
    """The state of a training. Only its `History` changes it.

    Rounds, checkpoints and clients are by their number or name. ``undone`` are rounds that a crash lost and
    that were, or will be, trained again. ``absent`` holds for a round the clients that are not in its
    model, with how that came. ``answered`` and ``evaluated`` are of the round that runs. ``parts`` are the
    machines by the part of the data that they have. ``trouble`` says why the journal cannot be read just now:
    then this is what was known before.
    """

    total: int = 0
    started_round: int = 0
    clients: int = 0
    replies: int = 0
    waiting: str = ""
    strategy: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    app: str = ""
    quality: Wanted = field(default_factory=lambda: Wanted.parse(AUTOMATIC))
    rounds: dict[int, RoundResult] = field(default_factory=dict)
    checkpoints: dict[int, SavedCheckpoint] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    absent: dict[int, dict[str, str]] = field(default_factory=dict)
    resumed_after: list[int] = field(default_factory=list)
    failed_rounds: int = 0
    restarts: int = 0
    supervisor: str = ""
    supervisor_reason: str = ""
    supervisor_since: datetime | None = None
    losses_in_a_row: int = 0
    delay_s: float = 0.0
    finish: Event | None = None
    failure: str = ""
    first_time: datetime | None = None
    last_time: datetime | None = None

    events: int = 0
    trouble: str = ""
    phase: Phase = Phase.NOTHING
    began: datetime | None = None
    round_began: datetime | None = None
    attempt: int = 1
    answered: dict[str, float | None] = field(default_factory=dict)
    evaluated: set[str] = field(default_factory=set)
    roster: dict[str, Client] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    undone: list[RoundResult] = field(default_factory=list)
    moments: deque[Moment] = field(default_factory=lambda: deque(maxlen=MOST_MOMENTS))
    failures: Counter[str] = field(default_factory=Counter)
    quarantines: Counter[str] = field(default_factory=Counter)
    resumes: int = 0
    failed_checkpoints: int = 0
    checkpoint_failure: str = ""
    saving: str = ""
    aggregation_s: float | None = None
    settings: list[Mapping[str, Any]] = field(default_factory=list)
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def first_told(self) -> int:
        """The first round whose end the journal tells; 1 before any."""
        return min(self.rounds, default=1)

    @property
    def begins_late(self) -> bool:
        """Whether earlier rounds were rotated out; the journal of a new folder begins with a resume."""
        return self.first_told > 1 and self.first_told - 1 not in self.resumed_after

    @property
    def done(self) -> int:
        """The last completed round, 0 before the first."""
        return max(self.rounds, default=0)

    def left_s(self) -> float | None:
        """Estimate the seconds to the end from the pace of the last rounds; None without any."""
        recent = [self.rounds[number].seconds for number in sorted(self.rounds)[-PACE_ROUNDS:]]
        if not recent or not self.total:
            return None
        return sum(recent) / len(recent) * max(0, self.total - self.done)

    def metric_names(self) -> list[Measure]:
        """Return the names of all metrics, the most telling origin first."""
        return in_order({name for result in self.rounds.values() for name in result.metrics})

    def headline(self, number: int) -> dict[str, float]:
        """Return the loss and the quality of a round, each from the most telling origin that has it."""
        return measures.headline(self.rounds[number].metrics) if number in self.rounds else {}

    def best(self) -> tuple[int, str, float] | None:
        """Return the best round with its measure: the one of FL_BEST_METRIC, else the most telling."""
        found = best_of({number: result.metrics for number, result in self.rounds.items()}, self.quality)
        return None if found is None else (found.round, label(found.metric), found.value)
