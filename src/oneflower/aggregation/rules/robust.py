"""Robust: each update is mixed with its nearest neighbours, then each coordinate is trimmed."""

from oneflower.aggregation.mixing import nearest_neighbours
from oneflower.aggregation.parameter import NUM_MALICIOUS, Values
from oneflower.aggregation.rules.fedtrimmedavg import trimmed_mean
from oneflower.aggregation.spec import Aggregate, Bound, Family, Round, State, StrategySpec
from oneflower.aggregation.updates import Arrays, Ordered


def apply(updates: Ordered, _model: Arrays, state: State, values: Values, this_round: Round) -> Aggregate:
    """Replace each update by the mean of its n - f nearest; average without the f extremes of each tail.

    Allouah et al. 2023, "Fixing by Mixing: A Recipe for Optimal Byzantine ML under Heterogeneity": NNM
    (algorithm 2) before the coordinate-wise trimmed mean, which is then optimal up to constants for any
    f < n/2 (theorem 1). The paper leaves out f values of each tail; so does this.
    """
    malicious = NUM_MALICIOUS.of(values)
    points = nearest_neighbours(this_round.points(updates), malicious)
    made = trimmed_mean(points, malicious, this_round.allocate)
    return Aggregate(model=made.model, state=state, used=updates, finite=made.finite)


def advice(values: Values, _clients: int) -> str | None:
    """Say where nothing is trimmed."""
    if NUM_MALICIOUS.of(values):
        return None
    return (
        f"{NUM_MALICIOUS.variable} is 0: Robust is then the plain mean of the updates; set the number of "
        "malicious clients to withstand"
    )


SPEC = StrategySpec(
    name="Robust",
    family=Family.ROBUST,
    summary="Mixes each update with its nearest neighbours, then trims; for uneven data too",
    source="Allouah et al. 2023",
    apply=apply,
    weights_by_examples=False,
    withstands=lambda values, _count: NUM_MALICIOUS.of(values),
    parameters=(NUM_MALICIOUS,),
    example_values={"num_malicious": 1},
    bound=Bound(2, 1),
    advice=advice,
    advice_help="FL_NUM_MALICIOUS is 0, which is the plain mean",
    example_clients=5,
)
