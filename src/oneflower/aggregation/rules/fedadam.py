"""FedAdam: Adam on the server."""

import math

import numpy as np

from oneflower.aggregation.kernel import Formula
from oneflower.aggregation.optimizers import (
    BETA_1,
    BETA_2,
    CLIENT_LR,
    SERVER_LR,
    Step,
    adapt,
    average_into,
    check_moments,
    server_step,
    zero_moments,
)
from oneflower.aggregation.parameter import Values
from oneflower.aggregation.spec import Aggregate, Family, Round, State, StrategySpec
from oneflower.aggregation.updates import Arrays, NDArray, Ordered

MOMENTS = ("m", "v")


def apply(updates: Ordered, model: Arrays, state: State, values: Values, this_round: Round) -> Aggregate:
    """Step by Adam along the clients' mean change.

    Reddi et al. 2021, algorithm 2 with FedAdam's v, and with Flower's bias correction, which that algorithm
    does not have (`bias_corrected`):
    m = b1 m + (1 - b1) delta; v = b2 v + (1 - b2) delta^2; x + lr m / (sqrt(v) + tau).
    """
    step = adam(bias_corrected(SERVER_LR.of(values), this_round.number))
    return server_step(updates, model, state, this_round, MOMENTS, step)


def bias_corrected(lr: float, server_round: int) -> float:
    """Return eta * sqrt(1 - b2^(t+1)) / (1 - b1^(t+1)), t the training's true round."""
    exponent = server_round + 1.0
    correction: float = math.sqrt(1 - BETA_2**exponent) / (1 - BETA_1**exponent)
    return lr * correction


def adam(lr: float) -> Step:
    """Return Adam's step with a learning rate that was corrected already."""

    def step(delta: NDArray, moments: tuple[NDArray, ...]) -> None:
        (m, v), kind = moments, delta.dtype.type
        average_into(m, delta)
        np.multiply(v, kind(BETA_2), out=v)
        np.multiply(delta, delta, out=delta)
        np.multiply(delta, kind(1 - BETA_2), out=delta)
        np.add(v, delta, out=v)
        adapt(delta, m, v, lr)

    return Step(of_block=step, formula=Formula.ADAM, lr=lr)


SPEC = StrategySpec(
    name="FedAdam",
    family=Family.SERVER_OPTIMIZER,
    summary="The server takes an Adam step along the clients' mean change; they train with FL_CLIENT_LR",
    source="Reddi et al. 2021",
    init=zero_moments(*MOMENTS),
    apply=apply,
    weights_by_examples=True,
    parameters=(SERVER_LR, CLIENT_LR),
    check_state=check_moments,
)
