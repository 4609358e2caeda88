"""FedAvg."""

from oneflower.training.strategies.base import OneflowerStrategy


class FedAvg(OneflowerStrategy):
    """Federated averaging: the mean weighted by examples (McMahan et al. 2017)."""
