"""What follows from the settings of a training without being one: values by their rows, parsed texts."""

from collections.abc import Mapping

from oneflower.quality import Wanted
from oneflower.settings.quorum import Quorum
from oneflower.settings.strategy_rows import STRATEGY_ROWS
from oneflower.settings.values import Value
from oneflower.settings.variable import Variable


class Derived(Quorum):
    """What follows from single settings; `TrainingConfig` has the fields."""

    __slots__ = ()

    parameters: Mapping[str, float]
    operator_set: frozenset[str]
    resume: str
    best_metric: str
    target_metric_value: str

    def value_of(self, row: Variable) -> Value:
        """Return the value of a variable, be it a field or a strategy's parameter."""
        value: Value = self.parameters[row.field] if row.strategies else getattr(self, row.field)
        return value

    def strategy_parameters(self) -> dict[str, float | int]:
        """Return the parameters of the selected strategy by field name; empty for FedAvg and `app`."""
        rows = (row for row in STRATEGY_ROWS if self.strategy in row.strategies)
        return {row.field: self.parameters[row.field] for row in rows}

    def is_set(self, name: str) -> bool:
        """Whether the operator set a variable; what he did not set is the app author's."""
        return name in self.operator_set

    @property
    def resume_round(self) -> int | None:
        """The round from whose checkpoint the training resumes; None for the newest, or for none."""
        return int(self.resume) if self.resume.isdecimal() else None

    @property
    def quality(self) -> Wanted:
        """The metric that says how good a model is, and which way is better (FL_BEST_METRIC)."""
        return Wanted.parse(self.best_metric)

    @property
    def target(self) -> float | None:
        """The value of that metric at which the training ends, or None (FL_TARGET_METRIC_VALUE)."""
        return float(self.target_metric_value) if self.target_metric_value else None
