"""Whether a training ends before its last round: a fold of what was measured, the same after a resume."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oneflower.codes import StopReason
from oneflower.errors import SettingsError
from oneflower.quality import ORIGINS, Measure, RoundMetrics, Wanted, flat, measure
from oneflower.settings import TrainingConfig
from oneflower.words import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRule:
    """When to end: after `patience` rounds without an improvement above `delta`, or at `target`.

    A patience of 0 never ends it.
    """

    wanted: Wanted
    patience: int = 0
    delta: float = 0.0
    target: float | None = None

    @property
    def active(self) -> bool:
        """Whether anything but the last round can end the training."""
        return self.patience > 0 or self.target is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """The decision to end after a round, and why, for people."""

    reason: StopReason
    because: str


@dataclass(slots=True)
class _Leader:
    round: int
    value: float
    since: int = 0


@dataclass(slots=True)
class Stopping:
    """Take every round in order, then ask `stop`; a round costs the same whatever came before.

    A round counts for a metric where it was measured. NaN and infinity count, and are never an improvement.
    """

    rule: StopRule
    _leaders: dict[Measure, _Leader] = field(default_factory=dict)
    _newest: RoundMetrics = field(default_factory=dict)
    _round: int = 0

    def take(self, number: int, metrics: Mapping[str, Mapping[str, Any]]) -> None:
        """Note a round's metrics by origin and name."""
        self._round, self._newest = number, flat(metrics)
        for origin in ORIGINS:
            for name in metrics.get(origin) or {}:
                self._note(measure(origin, name))

    def restart(self) -> None:
        """Count the patience from here: the operator has asked for more rounds."""
        for leader in self._leaders.values():
            leader.since = 0

    def stop(self) -> Stop | None:
        """Return why the training ends after the round that was taken last, or None."""
        rule, name = self.rule, self.rule.wanted.choose(self._leaders)
        if name is None or not rule.active:
            return None
        leader, value = self._leaders[name], self._newest.get(name)
        if rule.target is not None and value is not None and self._reaches(name, value, rule.target):
            sign = ">=" if rule.wanted.higher_is_better(name) else "<="
            because = f"{name.text} is {value:.6g} {sign} {rule.target:.6g} after round {self._round}"
            return Stop(
                reason=StopReason.TARGET_REACHED, because=f"{because}: FL_TARGET_METRIC_VALUE is reached"
            )
        if not 0 < rule.patience <= leader.since:
            return None
        above = f" by more than {rule.delta:g}" if rule.delta else ""
        return Stop(
            reason=StopReason.NO_IMPROVEMENT,
            because=f"{name.text} was {leader.value:.6g} after round {leader.round} and has not improved"
            f"{above} in {counted(leader.since, 'round')} (FL_EARLY_STOP_ROUNDS={rule.patience})",
        )

    def missing(self, *, at_end: bool = False) -> str | None:
        """Return what was measured in place of the metric that decides, where that was not measured yet."""
        asked = self.rule.active or (at_end and bool(self.rule.wanted.name))
        if not asked or self.rule.wanted.choose(self._leaders) is not None:
            return None
        return ", ".join(sorted(each.text for each in self._leaders)) or "nothing"

    def _note(self, name: Measure) -> None:
        leader, value = self._leaders.get(name), self._newest.get(name)
        than = None if leader is None else leader.value
        if value is not None and self.rule.wanted.better(name, value, than, delta=self.rule.delta):
            self._leaders[name] = _Leader(self._round, value)
        elif leader is not None:
            leader.since += 1

    def _reaches(self, name: Measure, value: float, target: float) -> bool:
        return value >= target if self.rule.wanted.higher_is_better(name) else value <= target


def stop_rule(config: TrainingConfig, *, evaluates: bool) -> StopRule:
    """Return when the training ends early; SettingsError where nothing could tell."""
    rule = StopRule(
        wanted=config.quality,
        patience=config.early_stop_rounds,
        delta=config.early_stop_delta,
        target=config.target,
    )
    if rule.target is not None and not config.best_metric:
        raise SettingsError(
            f"FL_TARGET_METRIC_VALUE is {config.target_metric_value} and FL_BEST_METRIC is empty: expected "
            "the metric that shall reach it; set FL_BEST_METRIC"
        )
    if rule.active and not (evaluates or config.min_evaluate_clients or config.best_metric):
        raise SettingsError(
            "FL_EARLY_STOP_ROUNDS is set, the app does not evaluate centrally and FL_MIN_EVALUATE_CLIENTS is "
            "0: nothing says how good a model is; have the clients evaluate, name a metric of their training "
            "with FL_BEST_METRIC, or set FL_EARLY_STOP_ROUNDS=0"
        )
    return rule
