"""Krum: one client's model, the one nearest to its neighbours."""

import numpy as np

from oneflower.aggregation.distances import krum_scores
from oneflower.aggregation.mean import mean_of
from oneflower.aggregation.parameter import NUM_MALICIOUS, Values
from oneflower.aggregation.points import Points
from oneflower.aggregation.spec import Aggregate, Bound, Family, Round, State, StrategySpec
from oneflower.aggregation.updates import Arrays, Ordered


def apply(updates: Ordered, _model: Arrays, state: State, values: Values, this_round: Round) -> Aggregate:
    """Take the chosen client's model, or the chosen mean."""
    points = this_round.points(updates)
    best = krum(points, NUM_MALICIOUS.of(values))
    chosen, shares = points.only((best,)), points.shares([float(i == best) for i in range(len(points))])
    if chosen.stages:
        model: Arrays = chosen.combine(lambda _size, _dtype: mean_of, this_round.allocate).model
    else:
        model = chosen.updates[0].arrays
    return Aggregate(model=model, state=state, used=chosen.used, shares=shares)


def krum(points: Points, num_malicious: int) -> int:
    """Return which point's n - f - 2 nearest others are nearest to it.

    Blanchard et al. 2017, "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent",
    section 4: s(i) = sum over i -> j of ||V_i - V_j||^2. Ties go to the first in the fixed order.
    """
    return int(np.argmin(krum_scores(points.squared_distances(), num_malicious)))


SPEC = StrategySpec(
    name="Krum",
    family=Family.ROBUST,
    summary="Selects the one model nearest to the others; tolerates one malicious client of five",
    source="Blanchard et al. 2017",
    apply=apply,
    weights_by_examples=False,
    withstands=lambda values, _count: NUM_MALICIOUS.of(values),
    parameters=(NUM_MALICIOUS,),
    example_values={"num_malicious": 1},
    bound=Bound(2, 3),  # proposition 1
    example_clients=5,
)
