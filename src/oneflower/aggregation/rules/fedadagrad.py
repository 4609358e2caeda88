"""FedAdagrad: Adagrad on the server."""

import numpy as np

from oneflower.aggregation.kernel import Formula
from oneflower.aggregation.optimizers import (
    CLIENT_LR,
    SERVER_LR,
    Step,
    adapt,
    check_moments,
    server_step,
    zero_moments,
)
from oneflower.aggregation.parameter import Values
from oneflower.aggregation.spec import Aggregate, Family, Round, State, StrategySpec
from oneflower.aggregation.updates import Arrays, NDArray, Ordered

MOMENTS = ("v",)


def apply(updates: Ordered, model: Arrays, state: State, values: Values, this_round: Round) -> Aggregate:
    """Take an Adagrad step along the clients' mean change.

    Reddi et al. 2021, algorithm 2 with FedAdagrad's v and, as in Flower, b1 = 0: the first moment is delta
    itself. v = v + delta^2; x + lr delta / (sqrt(v) + tau).
    """
    return server_step(updates, model, state, this_round, MOMENTS, adagrad(SERVER_LR.of(values)))


def adagrad(lr: float) -> Step:
    """Return Adagrad's step: v sums up, so that the steps only get shorter."""

    def step(delta: NDArray, moments: tuple[NDArray, ...]) -> None:
        (v,), change = moments, delta.copy()
        np.multiply(delta, delta, out=delta)
        np.add(v, delta, out=v)
        adapt(delta, change, v, lr)

    return Step(of_block=step, formula=Formula.ADAGRAD, lr=lr)


SPEC = StrategySpec(
    name="FedAdagrad",
    family=Family.SERVER_OPTIMIZER,
    summary="The server takes an Adagrad step along the clients' mean change; they train with FL_CLIENT_LR",
    source="Reddi et al. 2021",
    init=zero_moments(*MOMENTS),
    apply=apply,
    weights_by_examples=True,
    parameters=(SERVER_LR, CLIENT_LR),
    check_state=check_moments,
)
