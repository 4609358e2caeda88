"""FedProx."""

from typing import Any

from oneflower.flower.api import strategy as flower
from oneflower.training.strategies.base import OneflowerStrategy


class FedProx(OneflowerStrategy, flower.FedProx):
    """FedAvg on the server; the clients hold on to the global model (Li et al. 2020, equation 2).

    Flower sends `proximal_mu` to the clients as "proximal-mu".
    """

    def parameters(self) -> dict[str, Any]:
        """Return mu, the weight of the clients' proximal term."""
        return {"proximal-mu": self.proximal_mu}
