"""What the ServerApp needs, parsed from the run-config that Flower hands it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oneflower.errors import SettingsError
from oneflower.quality import Wanted
from oneflower.settings.quorum import minimum_clients
from oneflower.settings.table import RUN_CONFIG_VARIABLES
from oneflower.settings.values import check_value


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """The settings of one training; names, units and bounds are those of Settings."""

    use_case: str
    base_model: str
    num_rounds: int
    strategy: str
    min_fit_clients: int
    min_evaluate_clients: int
    min_available_clients: int
    proximal_mu: float
    server_lr: float
    client_lr: float
    num_malicious: int
    trim_beta: float
    checkpoint_enabled: bool
    checkpoint_interval: int
    checkpoint_path: str
    checkpoint_keep: int
    resume: str
    round_timeout: int
    round_retries: int
    seed: int
    best_metric: str
    early_stop_rounds: int
    early_stop_delta: float
    target_metric_value: str
    log_level: str

    @property
    def quorum(self) -> int:
        """Fewest valid updates that complete a round: the operator's minimum or the strategy's bound."""
        return max(self.min_fit_clients, minimum_clients(self.strategy, self.num_malicious))

    def quorum_after(self, quarantined: int) -> int:
        """Fewest valid updates that complete a round in which so many clients were quarantined.

        A quarantined client is one of the FL_NUM_MALICIOUS that the rule was told to expect, and no longer
        enters it: the rule goes on against the rest, f - quarantined. Without this, one client that sends
        NaN could stall a federation that has just as many clients as the bound asks for.
        """
        if self.min_fit_clients > minimum_clients(self.strategy, self.num_malicious):
            return self.min_fit_clients
        return minimum_clients(self.strategy, max(0, self.num_malicious - quarantined))

    @property
    def quality(self) -> Wanted:
        """The metric that says how good a model is, and which way is better (FL_BEST_METRIC)."""
        return Wanted.parse(self.best_metric)

    @property
    def target(self) -> float | None:
        """The value of that metric at which the training ends, or None (FL_TARGET_METRIC_VALUE)."""
        return float(self.target_metric_value) if self.target_metric_value else None

    def strategy_parameters(self) -> dict[str, float | int]:
        """Return the parameters of the selected strategy by field name; empty for FedAvg."""
        return {
            variable.field: getattr(self, variable.field)
            for variable in RUN_CONFIG_VARIABLES.values()
            if self.strategy in variable.strategies
        }


def training_config(run_config: Mapping[str, object]) -> TrainingConfig:
    """Parse Flower's run-config; a key that is missing takes its default, one that is not ours is left alone.

    Raises
    ------
    SettingsError
        Naming every key whose value has the wrong type or is out of bounds.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for key, variable in RUN_CONFIG_VARIABLES.items():
        value = run_config.get(key, variable.default)
        try:
            values[variable.field] = check_value(variable, value)
        except ValueError as error:
            problems.append(
                f"run-config key {key} ({variable.name}) is {value!r}: {error}; "
                f"expected {variable.accepted}; the default is {variable.default!r}"
            )
    if problems:
        raise SettingsError("\n".join(["The run-config of the training is wrong.", *problems]))
    return TrainingConfig(**values)
