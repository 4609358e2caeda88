"""Events of rounds."""

from dataclasses import dataclass
from typing import ClassVar

from oneflower.codes import RoundFailure, Task
from oneflower.journal.events.base import Event
from oneflower.quality import Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundStarted(Event):
    """A round starts with `clients` clients; its messages go to `asked` of them, which the strategy chose."""

    round: int
    rounds: int = 0
    clients: int
    asked: int = 0
    tag: ClassVar[str] = "round_started"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientsSampled(Event):
    """Who was drawn for `phase`, in the order of the draw; 500 clients at most an event.

    `slots` are the numbers by which they were drawn: their partitions, as far as the clients say them. The
    first `wanted` clients whose replies are valid count. Not written where all clients take part.
    """

    round: int
    phase: Task = Task.TRAIN
    wanted: int
    clients: tuple[str, ...]
    slots: tuple[int, ...] = ()
    tag: ClassVar[str] = "clients_sampled"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundFailed(Event):
    """A try of a round gave no model; the round is tried again.

    `valid` updates arrived and `needed` were required, the quorum after those quarantined; with code
    `few_clients` `needed` clients had to be connected. `tries_left` is 0 after the last try of the round, and
    null in journals of earlier releases. `round` is 0 for the questions before round 1.
    """

    round: int
    rounds: int = 0
    attempt: int = 1
    valid: int = 0
    needed: int = 0
    code: RoundFailure = RoundFailure.OTHER
    reason: str
    tries_left: int | None = None
    tag: ClassVar[str] = "round_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundAggregated(Event):
    """The updates have become the new model; aggregating took `seconds`."""

    round: int
    rounds: int = 0
    valid: int
    seconds: float = 0.0
    tag: ClassVar[str] = "round_aggregated"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatesMeasured(Event):
    """What the updates of a round show; 500 clients at most an event. The other lists follow `clients`.

    `distances` are from each update, as it was sent, to the new model, `changes` its change in medians of the
    round; null for one that is too large. `weights` are those in the new model; `selected` is 1 for an update
    that the rule used, else 0. A list is empty where nothing is known.
    """

    round: int
    clients: tuple[str, ...]
    distances: tuple[float, ...] = ()
    changes: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()
    selected: tuple[int, ...] = ()
    tag: ClassVar[str] = "updates_measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundCompleted(Event):
    """The round is aggregated and evaluated; after a crash behind its checkpoint the resume writes it.

    In JSON the metrics are three objects by origin, `train_metrics`, `evaluate_metrics` and
    `central_metrics`; a number that is not finite is null.
    """

    round: int
    rounds: int = 0
    valid: int = 0
    seconds: float = 0.0
    metrics: tuple[Metric, ...] = ()
    tag: ClassVar[str] = "round_completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationUnavailable(Event):
    """The ClientApp has no function that evaluates; the clients are not asked to evaluate again."""

    round: int
    rounds: int = 0
    reason: str
    tag: ClassVar[str] = "evaluation_unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricMissing(Event):
    """The metric of FL_BEST_METRIC was not measured: it chooses no best round, and ends no training early."""

    round: int
    rounds: int = 0
    metric: str = ""
    reason: str
    tag: ClassVar[str] = "metric_missing"
