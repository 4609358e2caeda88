"""The six strategies: Flower's own classes with checked replies and our numbers."""

from typing import Any

from oneflower.errors import SettingsError
from oneflower.flower.records import array_view, array_views, to_record
from oneflower.settings import TrainingConfig
from oneflower.training.strategies.base import OneflowerStrategy
from oneflower.training.strategies.bulyan import Bulyan
from oneflower.training.strategies.checking import Checked, Rejection
from oneflower.training.strategies.fedadam import FedAdam
from oneflower.training.strategies.fedavg import FedAvg
from oneflower.training.strategies.fedprox import FedProx
from oneflower.training.strategies.fedtrimmedavg import FedTrimmedAvg
from oneflower.training.strategies.krum import Krum

__all__ = [
    "Bulyan",
    "Checked",
    "FedAdam",
    "FedAvg",
    "FedProx",
    "FedTrimmedAvg",
    "Krum",
    "OneflowerStrategy",
    "Rejection",
    "array_view",
    "array_views",
    "build_strategy",
    "to_record",
]

CLASSES: dict[str, type[OneflowerStrategy]] = {
    kind.__name__: kind for kind in (FedAvg, FedProx, FedAdam, Krum, Bulyan, FedTrimmedAvg)
}


def build_strategy(config: TrainingConfig) -> OneflowerStrategy:
    """Return the strategy that this training asks for, with its parameters and client minimums.

    Raises
    ------
    SettingsError
        There is no strategy of this name.
    """
    if config.strategy not in CLASSES:
        raise SettingsError(
            f"FL_STRATEGY is {config.strategy!r}; expected one of {', '.join(CLASSES)}: set one of them"
        )
    return CLASSES[config.strategy](
        min_train_nodes=config.quorum,
        min_evaluate_nodes=config.min_evaluate_clients,
        min_available_nodes=max(config.min_available_clients, config.quorum),
        **_own_options(config),
    )


def _own_options(config: TrainingConfig) -> dict[str, Any]:
    given = config.parameters
    options: dict[str, dict[str, Any]] = {
        "FedProx": {"proximal_mu": given["proximal_mu"]},
        "FedAdam": {"eta": given["server_lr"], "eta_l": given["client_lr"]},
        "Krum": {"num_malicious_nodes": given["num_malicious"]},
        "Bulyan": {"num_malicious_nodes": given["num_malicious"]},
        "FedTrimmedAvg": {"beta": given["trim_beta"]},
    }
    return options.get(config.strategy, {})
