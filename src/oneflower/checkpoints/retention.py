"""Which checkpoints are kept: small values that are joined, and a rule that no value can break."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from oneflower.checkpoints.model import Metrics
from oneflower.errors import CheckpointError


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A number by which rounds are compared: its phase, its name, and which way is better."""

    phase: str
    name: str
    better: Literal["higher", "lower"]

    def scores(self, metrics: Metrics, rounds: Collection[int]) -> dict[int, float]:
        """Return this measure of each round that has it; a number that is not finite never counts."""
        by_round = _mapping(metrics.get(self.phase))
        found = {number: _mapping(by_round.get(str(number))).get(self.name) for number in rounds}
        return {
            number: float(value)
            for number, value in found.items()
            if isinstance(value, (int, float)) and math.isfinite(value)
        }


DEFAULT_MEASURES: Final = (
    Measure(phase="central", name="accuracy", better="higher"),
    Measure(phase="central", name="roc_auc", better="higher"),
    Measure(phase="central", name="loss", better="lower"),
    Measure(phase="evaluate", name="accuracy", better="higher"),
    Measure(phase="evaluate", name="roc_auc", better="higher"),
    Measure(phase="evaluate", name="loss", better="lower"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best round so far, and the measure and value that make it so."""

    round: int
    measure: Measure
    value: float


def best_round(rounds: Collection[int], metrics: Metrics, measures: Sequence[Measure]) -> Best | None:
    """Return the best of the rounds by the first measure that any of them has; the later of equals."""
    for measure in measures:
        if scores := measure.scores(metrics, rounds):
            sign = 1 if measure.better == "higher" else -1
            number = max(scores, key=lambda candidate: (sign * scores[candidate], candidate))
            return Best(round=number, measure=measure, value=scores[number])
    return None


class Retention(Protocol):
    """A value that says which of the committed rounds are kept."""

    def kept(self, rounds: Collection[int], metrics: Metrics) -> set[int]:
        """Return the rounds to keep, a subset of `rounds`."""
        ...


@dataclass(frozen=True, slots=True)
class KeepAll:
    """Keep every round."""

    def kept(self, rounds: Collection[int], metrics: Metrics) -> set[int]:  # noqa: ARG002 - the protocol's
        """Return all rounds."""
        return set(rounds)


@dataclass(frozen=True, slots=True)
class KeepNewest:
    """Keep the newest `count` rounds; at least 2, so that one may be damaged."""

    count: int

    def __post_init__(self) -> None:
        if self.count < 2:
            raise CheckpointError(
                f"keeping the newest {self.count} checkpoints: expected 2 at least, "
                "so that one may be damaged. Set FL_CHECKPOINT_KEEP to 2 or more, or to 0 to keep all."
            )

    def kept(self, rounds: Collection[int], metrics: Metrics) -> set[int]:  # noqa: ARG002 - the protocol's
        """Return the newest rounds."""
        return set(sorted(rounds)[-self.count :])


@dataclass(frozen=True, slots=True)
class KeepBest:
    """Keep the best round by the first measure that any round has."""

    measures: tuple[Measure, ...] = DEFAULT_MEASURES

    def kept(self, rounds: Collection[int], metrics: Metrics) -> set[int]:
        """Return the best round, or nothing while no round has a number."""
        best = best_round(rounds, metrics, self.measures)
        return set() if best is None else {best.round}


@dataclass(frozen=True, slots=True)
class KeepEvery:
    """Keep every round that is a multiple of `interval`."""

    interval: int

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise CheckpointError(f"keeping every {self.interval}th checkpoint: expected 1 or more.")

    def kept(self, rounds: Collection[int], metrics: Metrics) -> set[int]:  # noqa: ARG002 - the protocol's
        """Return the multiples of the interval."""
        return {number for number in rounds if number % self.interval == 0}


@dataclass(frozen=True, slots=True)
class KeepUnion:
    """Keep what any of the values keeps."""

    parts: tuple[Retention, ...]

    def kept(self, rounds: Collection[int], metrics: Metrics) -> set[int]:
        """Return the union of what the parts keep."""
        return set().union(*(part.kept(rounds, metrics) for part in self.parts))


def retention_of(keep: int, measures: tuple[Measure, ...] = DEFAULT_MEASURES) -> Retention:
    """Return the value of FL_CHECKPOINT_KEEP: 0 keeps all, else the newest `keep` and the best."""
    if keep == 0:
        return KeepAll()
    return KeepUnion((KeepNewest(keep), KeepBest(measures)))


def doomed(
    rounds: Collection[int], metrics: Metrics, policy: Retention, measures: Sequence[Measure]
) -> tuple[int, ...]:
    """Return the rounds that may go, oldest first: never the newest, never the best, whatever the policy."""
    if not rounds:
        return ()
    best = best_round(rounds, metrics, measures)
    safe = policy.kept(rounds, metrics) | {max(rounds)} | (set() if best is None else {best.round})
    return tuple(sorted(set(rounds) - safe))


def _mapping(value: Any) -> Mapping[str, Any]:
    """Return the value where it is a mapping: metrics of another layout have no best, and hurt nobody."""
    return value if isinstance(value, Mapping) else {}
