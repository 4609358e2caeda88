"""FedAvgM: federated averaging with server momentum."""

import numpy as np

from oneflower.aggregation.kernel import Formula
from oneflower.aggregation.optimizers import SERVER_LR, Step, check_moments, server_step, zero_moments
from oneflower.aggregation.parameter import Parameter, Values
from oneflower.aggregation.spec import Aggregate, Family, Round, State, StrategySpec
from oneflower.aggregation.updates import Arrays, NDArray, Ordered

SERVER_MOMENTUM = Parameter(
    name="server_momentum",
    default=0.9,
    minimum=0.0,
    maximum=1.0,
    label="Server momentum",
    help="Momentum beta of the server; 0 keeps nothing of earlier rounds",
)
MOMENTS = ("momentum",)


def apply(updates: Ordered, model: Arrays, state: State, values: Values, this_round: Round) -> Aggregate:
    """Take a step along the decaying sum of the clients' mean changes.

    Hsu et al. 2019, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
    Classification": v = beta v + delta; x + lr v, where delta = mean - x and v is 0 at first.
    """
    step = momentum(SERVER_LR.of(values), SERVER_MOMENTUM.of(values))
    return server_step(updates, model, state, this_round, MOMENTS, step)


def momentum(lr: float, beta: float) -> Step:
    """Return the step of gradient descent with momentum."""

    def step(delta: NDArray, moments: tuple[NDArray, ...]) -> None:
        (v,), kind = moments, delta.dtype.type
        np.multiply(v, kind(beta), out=v)
        np.add(v, delta, out=v)
        np.multiply(v, kind(lr), out=delta)

    return Step(of_block=step, formula=Formula.MOMENTUM, lr=lr, decay=beta)


def advice(values: Values, _clients: int) -> str | None:
    """Say where there is no momentum, or one that never fades."""
    beta = SERVER_MOMENTUM.of(values)
    if beta == 0 and SERVER_LR.of(values) == 1:
        return f"{SERVER_MOMENTUM.variable} is 0 and {SERVER_LR.variable} is 1: FedAvgM is then FedAvg"
    if beta == 1:
        return f"{SERVER_MOMENTUM.variable} is 1: the changes of earlier rounds never fade; 0.9 is usual"
    return None


SPEC = StrategySpec(
    name="FedAvgM",
    family=Family.SERVER_OPTIMIZER,
    summary="Federated averaging with momentum on the server; for data that differ between nodes",
    source="Hsu et al. 2019",
    init=zero_moments(*MOMENTS),
    apply=apply,
    weights_by_examples=True,
    parameters=(SERVER_LR, SERVER_MOMENTUM),
    advice=advice,
    advice_help="FL_SERVER_MOMENTUM is 1, or it is 0 with FL_SERVER_LR=1, which is FedAvg",
    check_state=check_moments,
    example_values={"server_lr": 1.0, "server_momentum": 0.5},
)
