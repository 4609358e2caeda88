"""FedTrimmedAvg: the mean of each coordinate without its extremes."""

import math
from typing import Any

import numpy as np

from oneflower.aggregation.blocks import Allocate, BlockRule, Combined, Rows
from oneflower.aggregation.compiled import kernel
from oneflower.aggregation.mean import mean_of
from oneflower.aggregation.networks import Comparator, Wires, selection_network
from oneflower.aggregation.parameter import Parameter, Values
from oneflower.aggregation.points import Points
from oneflower.aggregation.spec import Aggregate, Family, Round, State, StrategySpec
from oneflower.aggregation.updates import Arrays, NDArray, Ordered

TRIM_BETA = Parameter(
    name="trim_beta",
    default=0.2,
    minimum=0.0,
    maximum=0.5,
    exclusive=True,
    label="Trim fraction per tail",
    help="Fraction of the updates to trim from each tail, coordinate by coordinate",
)
_MORE_CLIENTS_THAN_EXIST = 10**9


def apply(updates: Ordered, _model: Arrays, state: State, values: Values, this_round: Round) -> Aggregate:
    """Average each coordinate without its floor(beta * n) least and greatest values.

    Yin et al. 2018, "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates",
    definition 2. `num_examples` is ignored: it is a number that an attacker may choose. With n below
    1 / beta nothing is trimmed and the result is the plain mean.
    """
    points = this_round.points(updates)
    made = trimmed_mean(points, int(TRIM_BETA.of(values) * len(points)), this_round.allocate)
    return Aggregate(model=made.model, state=state, used=updates, finite=made.finite)


def trimmed_mean(points: Points, cut: int, allocate: Allocate) -> Combined:
    """Average each coordinate without its `cut` least and greatest values."""
    count, compiled = len(points), kernel()
    whole = compiled.trimmed(count, trimming(count, cut), range(cut, count - cut)) if compiled else None
    return points.combine(lambda size, dtype: trimmed_rule(count, cut, size, dtype), allocate, whole)


def trimming(count: int, cut: int) -> tuple[Comparator, ...]:
    """Return the network that puts the values of rank cut to count - cut - 1 on those wires."""
    return selection_network(count, cut, count - cut) if cut else ()


def trimmed_rule(count: int, cut: int, size: int, dtype: np.dtype[Any]) -> BlockRule:
    """Return the rule out = mean of the rows' values of rank cut to count - cut - 1."""
    network = trimming(count, cut)
    wires = Wires(count if cut else 0, size, dtype)

    def apply(rows: Rows, out: NDArray) -> None:
        mean_of(wires.run(network, rows)[cut : count - cut], out)

    return apply


def advice(values: Values, clients: int) -> str | None:
    """Say where nothing would be trimmed."""
    beta = TRIM_BETA.of(values)
    if int(beta * clients):
        return None
    enough = smallest_trimming(beta)
    remedy = f"{enough} is the smallest number that trims" if enough else "no number of clients trims"
    return (
        f"{TRIM_BETA.variable} is {beta:g} and FL_MIN_FIT_CLIENTS is {clients}: nothing would be trimmed "
        f"with so few clients; {remedy}"
    )


def smallest_trimming(beta: float) -> int | None:
    """Return the fewest clients n with floor(beta*n) >= 1, or None where no cluster is that large."""
    if beta * _MORE_CLIENTS_THAN_EXIST < 1:
        return None
    clients = max(1, math.ceil(1 / beta) - 1)
    while math.floor(beta * clients) < 1:
        clients += 1
    return clients


SPEC = StrategySpec(
    name="FedTrimmedAvg",
    family=Family.ROBUST,
    summary="Trimmed mean: per coordinate, the largest and the smallest fifth of the values are discarded",
    source="Yin et al. 2018, definition 2",
    apply=apply,
    weights_by_examples=False,
    withstands=lambda values, count: int(TRIM_BETA.of(values) * count),
    parameters=(TRIM_BETA,),
    advice=advice,
    advice_help="nothing would be trimmed with FL_MIN_FIT_CLIENTS clients; the warning states how many trim",
    example_clients=5,
)
