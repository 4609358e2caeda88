"""Bulyan."""

from collections.abc import Sequence
from typing import Any

from oneflower.aggregation import Aggregate, Allocate, Update, bulyan
from oneflower.aggregation.bulyan import iterated_krum
from oneflower.flower.api import strategy as flower
from oneflower.training.strategies.base import OneflowerStrategy


class Bulyan(OneflowerStrategy, flower.Bulyan):
    """Iterated Krum, then a mean around each median (El Mhamdi et al. 2018); metrics of those selected."""

    def __init__(self, **options: Any) -> None:
        super().__init__(selection_rule=iterated_krum, **options)  # Flower logs its name

    def parameters(self) -> dict[str, Any]:
        """Return f, the number of malicious clients that the rule withstands."""
        return {"num-malicious": self.num_malicious_nodes}

    def _combine(self, server_round: int, updates: Sequence[Update], allocate: Allocate) -> Aggregate:  # noqa: ARG002
        return bulyan(updates, max(0, self.num_malicious_nodes - self._caught), allocate=allocate)
