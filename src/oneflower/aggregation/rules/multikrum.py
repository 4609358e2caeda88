"""MultiKrum: the mean of the models that Krum scores best."""

import numpy as np

from oneflower.aggregation.distances import krum_scores
from oneflower.aggregation.parameter import NUM_MALICIOUS, Values
from oneflower.aggregation.points import Use
from oneflower.aggregation.rules.fedtrimmedavg import trimmed_mean
from oneflower.aggregation.spec import Aggregate, Bound, Family, Round, State, StrategySpec
from oneflower.aggregation.updates import Arrays, Ordered


def apply(updates: Ordered, _model: Arrays, state: State, values: Values, this_round: Round) -> Aggregate:
    """Average, plainly, the n - f updates of the least Krum scores.

    Blanchard et al. 2017, "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent", section 4
    (m-Krum with m = n - f). Ties go to the first in the fixed order. Distances are computed in float64.
    """
    points, malicious = this_round.points(updates), NUM_MALICIOUS.of(values)
    order = np.argsort(krum_scores(points.central(Use.SELECT).distances, malicious), kind="stable")
    kept = sorted(int(i) for i in order[: len(points) - malicious])
    selected = points.only(kept)
    shares = points.shares([(i in kept) / len(kept) for i in range(len(points))])
    made = trimmed_mean(selected, 0, this_round.allocate)
    return Aggregate(model=made.model, state=state, used=selected.used, shares=shares, finite=made.finite)


SPEC = StrategySpec(
    name="MultiKrum",
    family=Family.ROBUST,
    summary="The mean of the n - f models nearest to the others; for data that differ between nodes",
    source="Blanchard et al. 2017",
    apply=apply,
    weights_by_examples=False,
    withstands=lambda values, _count: NUM_MALICIOUS.of(values),
    parameters=(NUM_MALICIOUS,),
    example_values={"num_malicious": 1},
    bound=Bound(2, 3),  # proposition 1
    example_clients=5,
    differs_from_flower="the plain mean of n - f; Flower's selects as many as it is given, one by default, "
    "and weighs them by their examples",
)
