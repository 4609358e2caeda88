"""The best round, at a constant cost a round."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oneflower.quality.measures import Measure, RoundMetrics
from oneflower.quality.table import AUTOMATIC, Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best round, and the metric and value that make it so."""

    round: int
    metric: Measure
    value: float
    higher: bool

    @property
    def fields(self) -> dict[str, Any]:
        """Return it as a manifest holds it."""
        return {"round": self.round, "metric": self.metric.text, "value": self.value, "higher": self.higher}


@dataclass(slots=True)
class BestSoFar:
    """The best of the rounds taken so far, at a constant cost a round. Of equals the first stays.

    With ``delta`` a round counts only where it beats the last one that counted by more than that: what early
    stopping asks. A round may be taken again with what was measured later.
    """

    wanted: Wanted = field(default_factory=lambda: Wanted.parse(AUTOMATIC))
    delta: float = 0.0
    _leaders: dict[Measure, tuple[int, float]] = field(default_factory=dict)

    def take(self, number: int, metrics: RoundMetrics) -> None:
        """Note a round's metrics."""
        for name, value in metrics.items():
            _, than = self._leaders.get(name, (0, None))
            if self.wanted.better(name, value, than, delta=self.delta):
                self._leaders[name] = number, value

    def best(self) -> Best | None:
        """Return the best round by the quality, None where no round has one."""
        name = self.wanted.choose(self._leaders)
        if name is None:
            return None
        number, value = self._leaders[name]
        return Best(round=number, metric=name, value=value, higher=self.wanted.higher_is_better(name))


def best_of(rounds: Mapping[int, RoundMetrics], wanted: Wanted | None = None) -> Best | None:
    """Return the best of some rounds, the first of equals."""
    best = BestSoFar(wanted or Wanted.parse(AUTOMATIC))
    for number in sorted(rounds):
        best.take(number, rounds[number])
    return best.best()
