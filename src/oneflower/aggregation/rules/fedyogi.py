"""FedYogi: Yogi on the server."""

import numpy as np

from oneflower.aggregation.kernel import Formula
from oneflower.aggregation.optimizers import (
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
    """Take a Yogi step along the clients' mean change.

    Reddi et al. 2021, algorithm 2 with FedYogi's v, without a bias correction as in the paper and in Flower:
    m = b1 m + (1 - b1) delta; v = v - (1 - b2) delta^2 sign(v - delta^2); x + lr m / (sqrt(v) + tau).
    """
    return server_step(updates, model, state, this_round, MOMENTS, yogi(SERVER_LR.of(values)))


def yogi(lr: float) -> Step:
    """Return Yogi's step: v moves towards delta^2 by a share of delta^2, not of their difference."""

    def step(delta: NDArray, moments: tuple[NDArray, ...]) -> None:
        (m, v), kind = moments, delta.dtype.type
        average_into(m, delta)
        np.multiply(delta, delta, out=delta)
        towards = np.sign(v - delta)
        np.multiply(delta, kind(1 - BETA_2), out=delta)
        np.subtract(v, np.multiply(delta, towards, out=towards), out=v)
        adapt(delta, m, v, lr)

    return Step(of_block=step, formula=Formula.YOGI, lr=lr)


SPEC = StrategySpec(
    name="FedYogi",
    family=Family.SERVER_OPTIMIZER,
    summary="The server takes a Yogi step along the clients' mean change; they train with FL_CLIENT_LR",
    source="Reddi et al. 2021",
    init=zero_moments(*MOMENTS),
    apply=apply,
    weights_by_examples=True,
    parameters=(SERVER_LR, CLIENT_LR),
    check_state=check_moments,
)
