"""FedTrimmedAvg."""

from collections.abc import Sequence
from typing import Any

from oneflower.aggregation import Aggregate, Allocate, Update, trimmed_mean
from oneflower.flower.api import strategy as flower
from oneflower.training.strategies.base import OneflowerStrategy


class FedTrimmedAvg(OneflowerStrategy, flower.FedTrimmedAvg):
    """The mean of each coordinate without its extremes (Yin et al. 2018)."""

    def parameters(self) -> dict[str, Any]:
        """Return beta, the fraction cut from each tail."""
        return {"trim-beta": self.beta}

    def _combine(self, server_round: int, updates: Sequence[Update], allocate: Allocate) -> Aggregate:  # noqa: ARG002
        return trimmed_mean(updates, self.beta, allocate=allocate)
