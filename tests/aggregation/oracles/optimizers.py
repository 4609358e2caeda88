"""The server optimizers over several rounds: ours, Flower's, and algorithm 2 of Reddi et al. 2021."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from oneflower.aggregation import Round, Update, ordered, spec_of
from oneflower.aggregation.optimizers import BETA_1, BETA_2, TAU

from .inputs import Sent

PACES = (1.0, 0.3, -0.5, 1.5)
"""How far the clients go in each round, as shares of what they sent in the first."""
ADAPTIVE = ("FedAdam", "FedYogi", "FedAdagrad")
LR = 0.1


def rounds_of(sent: Sent) -> list[np.ndarray]:
    """Return the clients' rows of each round."""
    change = sent.wide - sent.model
    return [(sent.model + pace * change).astype(sent.rows.dtype) for pace in PACES]


def ours(name: str, sent: Sent) -> np.ndarray:
    """Return our model after each round, one after another."""
    return np.concatenate(trained(name, sent.model, rounds_of(sent)))


def flowers(name: str, sent: Sent) -> np.ndarray:
    """Return those of Flower's class, each from our model: a step may make a rounding 100 times as large."""
    from . import flower_rules

    strategy, rounds, models = flower_rules.optimizer(name), rounds_of(sent), []
    starts = [sent.model, *trained(name, sent.model, rounds)]
    for number, (rows, start) in enumerate(zip(rounds, starts, strict=False), start=1):
        models.append(flower_rules.aggregated(strategy, rows, start, number=number))
        strategy.current_arrays = None  # else FedAvgM goes on from its own
    return np.concatenate(models)


def trained(name: str, model: np.ndarray, rounds: Sequence[np.ndarray], **values: float) -> list[np.ndarray]:
    """Return our model after each round of these rows."""
    spec, current, models = spec_of(name), {"w": model}, []
    state = spec.init(current)
    for number, rows in enumerate(rounds, start=1):
        updates = ordered(
            Update(client=i, arrays={"w": row}, num_examples=10.0) for i, row in enumerate(rows)
        )
        made = spec.aggregate(
            updates, current, state, spec.values(**spec.example | values), Round(number=number)
        )
        current, state = made.model, made.state
        models.append(np.array(current["w"]))
    return models


@dataclass(frozen=True, slots=True, kw_only=True)
class Reddi:
    """Reddi et al. 2021, "Adaptive Federated Optimization", algorithm 2, in float64.

    Attributes
    ----------
    optimizer
        FedAdagrad, FedYogi or FedAdam.
    beta_1
        FedAdagrad's is 0 in the paper's experiments.
    first_v
        v of round -1, tau^2 or more in the paper.
    rate
        Of (round, eta): the learning rate; the paper's is eta in every round.
    """

    optimizer: str
    beta_1: float = BETA_1
    first_v: float = TAU**2
    rate: Callable[[int, float], float] = lambda _number, eta: eta

    def models(self, x: np.ndarray, rounds: Sequence[np.ndarray], eta: float = LR) -> list[np.ndarray]:
        """Return the model after each round."""
        x, models = x.astype(np.float64), []
        m, v = np.zeros_like(x), np.full_like(x, self.first_v)
        for number, rows in enumerate(rounds, start=1):
            delta = (rows.astype(np.float64) - x).mean(axis=0)
            m = self.beta_1 * m + (1 - self.beta_1) * delta
            match self.optimizer:
                case "FedAdagrad":
                    v = v + delta**2
                case "FedYogi":
                    v = v - (1 - BETA_2) * delta**2 * np.sign(v - delta**2)
                case _:
                    v = BETA_2 * v + (1 - BETA_2) * delta**2
            x = x + self.rate(number, eta) * m / (np.sqrt(v) + TAU)
            models.append(x)
        return models


def kingmas(number: int, eta: float) -> float:
    """Return the learning rate of Flower's FedAdam: the bias correction of Kingma and Ba, a round ahead."""
    return eta * np.sqrt(1 - BETA_2 ** (number + 1)) / (1 - BETA_1 ** (number + 1))


def papers(name: str) -> Reddi:
    """Return the paper's algorithm."""
    return Reddi(optimizer=name, beta_1=0.0 if name == "FedAdagrad" else BETA_1)


def as_flower_departs(name: str) -> Reddi:
    """Return it with the departures that Flower and we have: the first v, and FedAdam's bias correction."""
    rate = kingmas if name == "FedAdam" else (lambda _number, eta: eta)
    return Reddi(optimizer=name, beta_1=papers(name).beta_1, first_v=0.0, rate=rate)


@dataclass(frozen=True, slots=True)
class Departure:
    """The largest difference after ten rounds: from the paper, and from it with the departures."""

    name: str
    largest: float
    remaining: float


def weights_of_a_tenth(
    rounds: int = 10, clients: int = 5, size: int = 1_000
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return a model of weights of about 0.1, and what clients send who agree where they want to go."""
    rng = np.random.default_rng(0)
    start, goal = 0.1 * rng.standard_normal((2, size))
    return start, [goal + 0.01 * rng.standard_normal((clients, size)) for _ in range(rounds)]


def departure(name: str) -> Departure:
    """Compare ours with the paper's on weights of a tenth."""
    start, rounds = weights_of_a_tenth()
    last = trained(name, start, rounds, server_lr=LR)[-1]
    differences = [
        float(np.abs(last - each.models(start, rounds)[-1]).max())
        for each in (papers(name), as_flower_departs(name))
    ]
    return Departure(name, *differences)
