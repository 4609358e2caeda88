"""GeometricMedian: the model with the least sum of distances to the updates."""

import numpy as np

from oneflower.aggregation.parameter import Values
from oneflower.aggregation.points import Central, Use, mean_of_points
from oneflower.aggregation.spec import Aggregate, Family, Round, State, StrategySpec
from oneflower.aggregation.updates import Arrays, Ordered

ITERATIONS = 100
"""Steps of Weiszfeld, always all of them. The paper counts rounds with the clients and takes 3; here a
step costs n^2 multiplications, and 3 would leave far outliers a share of the model."""

SMOOTHING = 1e-6
"""The paper's nu, as a share of the radius of the majority: an absolute one is the mean at small scales."""


def apply(updates: Ordered, _model: Arrays, state: State, _values: Values, this_round: Round) -> Aggregate:
    """Average the updates with the weights that smoothed Weiszfeld finds.

    Pillutla et al. 2022, "Robust Aggregation for Federated Learning" (RFA), algorithm 2, every client with
    the same weight. The models are read two or three times: for their inner products and for the mean.
    """
    points = this_round.points(updates)
    shares = weiszfeld(points.central(Use.WEIGH))
    made = mean_of_points(points, shares, this_round.allocate)
    given = points.shares(shares)
    return Aggregate(model=made.model, state=state, used=updates, shares=given, finite=made.finite)


def weiszfeld(central: Central) -> list[float]:
    """Return the weights of the geometric median, which sum to 1.

    With z = sum a_j y_j, where y are differences from the centre: |y_i - z|^2 = G_ii - 2 (G a)_i + a'Ga, and
    the next weights are 1 / max(nu, |y_i - z|). The first are 1 / max(nu, radius). A point whose
    square no float64 holds has the weight 0, which is what its own would be rounded to.
    """
    radii = central.radii
    smoothing = SMOOTHING * float(radii[central.centre])
    if smoothing == 0:  # a majority of the points are one point, which is then the median
        return [float(i == central.centre) for i in range(len(radii))]
    near = np.isfinite(np.diagonal(central.products)) & np.isfinite(radii)
    near[central.centre] = True
    products = np.where(near[:, None] & near[None, :], central.products, 0.0)
    weights = np.where(near, 1 / np.maximum(smoothing, np.where(near, radii, 1.0)), 0.0)
    for _ in range(ITERATIONS):
        weights /= weights.sum()
        inner = (products * weights).sum(axis=1)  # no BLAS: the same bytes on every processor
        squares = np.diagonal(products) - 2 * inner + (inner * weights).sum()
        distances = np.sqrt(np.maximum(squares, 0.0))
        weights = np.where(near, 1 / np.maximum(smoothing, distances), 0.0)
    return [float(weight) for weight in weights / weights.sum()]


def advice(_values: Values, clients: int) -> str | None:
    """Say where the geometric median is the mean."""
    if clients > 2:
        return None
    return (
        f"FL_MIN_FIT_CLIENTS is {clients}: the geometric median of so few clients is their mean; "
        "set 3 or more"
    )


SPEC = StrategySpec(
    name="GeometricMedian",
    family=Family.ROBUST,
    summary="The model with the least sum of distances to the updates (RFA); tolerates a minority",
    source="Pillutla et al. 2022",
    apply=apply,
    weights_by_examples=False,
    withstands=lambda _values, count: (count - 1) // 2,
    advice=advice,
    advice_help="the geometric median of FL_MIN_FIT_CLIENTS clients, 1 or 2, is their mean",
    example_clients=5,
)
