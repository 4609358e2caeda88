"""Krum."""

from collections.abc import Sequence
from typing import Any

from oneflower.aggregation import Aggregate, Allocate, Update, krum
from oneflower.flower.api import strategy as flower
from oneflower.training.strategies.base import OneflowerStrategy


class Krum(OneflowerStrategy, flower.Krum):
    """The one update that is nearest to its neighbours (Blanchard et al. 2017); its metrics too."""

    def parameters(self) -> dict[str, Any]:
        """Return f, the number of malicious clients that the rule withstands."""
        return {"num-malicious": self.num_malicious_nodes}

    def _combine(self, server_round: int, updates: Sequence[Update], allocate: Allocate) -> Aggregate:  # noqa: ARG002
        return krum(updates, max(0, self.num_malicious_nodes - self._caught))
