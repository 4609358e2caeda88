"""Which metric says how good a model is, and at which value of it a training ends."""

from typing import Protocol

from oneflower.quality import Wanted


class Ending(Protocol):
    """What follows from FL_BEST_METRIC and FL_TARGET_METRIC_VALUE; `TrainingConfig` has the fields."""

    __slots__ = ()

    best_metric: str
    target_metric_value: str

    @property
    def quality(self) -> Wanted:
        """The metric that says how good a model is, and which way is better (FL_BEST_METRIC)."""
        return Wanted.parse(self.best_metric)

    @property
    def target(self) -> float | None:
        """The value of that metric at which the training ends, or None (FL_TARGET_METRIC_VALUE)."""
        return float(self.target_metric_value) if self.target_metric_value else None
