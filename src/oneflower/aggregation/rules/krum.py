"""Krum: one client's model, the one nearest to its neighbours."""

import numpy as np

from oneflower.aggregation.distances import krum_scores, squared_distances
from oneflower.aggregation.parameter import NUM_MALICIOUS, Values
from oneflower.aggregation.spec import Aggregate, Bound, Family, Round, State, StrategySpec
from oneflower.aggregation.updates import Arrays, Ordered, Update


def apply(updates: Ordered, _model: Arrays, state: State, values: Values, _round: Round) -> Aggregate:
    """Take the chosen client's model."""
    chosen = krum(updates, NUM_MALICIOUS.of(values))
    return Aggregate(model=chosen.arrays, state=state, used=(chosen,))


def krum(updates: Ordered, num_malicious: int) -> Update:
    """Return the update whose n - f - 2 nearest others are nearest to it.

    Blanchard et al. 2017, "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent",
    section 4: s(i) = sum over i -> j of ||V_i - V_j||^2. Ties go to the first in the fixed order.
    """
    scores = krum_scores(squared_distances(updates), num_malicious)
    return updates[int(np.argmin(scores))]


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
