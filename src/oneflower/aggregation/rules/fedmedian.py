"""FedMedian: the median of each coordinate."""

from oneflower.aggregation.parameter import Values
from oneflower.aggregation.rules.fedtrimmedavg import trimmed_mean
from oneflower.aggregation.spec import Aggregate, Family, Round, State, StrategySpec
from oneflower.aggregation.updates import Arrays, Ordered


def apply(updates: Ordered, _model: Arrays, state: State, _values: Values, this_round: Round) -> Aggregate:
    """Take the median of each coordinate, of an even number of updates the mean of the two in the middle.

    Yin et al. 2018, "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", definition 1
    (algorithm 1, option I). It is the trimmed mean that leaves one value or two: a selection network finds
    them without sorting the others. `num_examples` is ignored.
    """
    points = this_round.points(updates)
    made = trimmed_mean(points, (len(points) - 1) // 2, this_round.allocate)
    return Aggregate(model=made.model, state=state, used=updates, finite=made.finite)


def advice(_values: Values, clients: int) -> str | None:
    """Say where the median is the mean."""
    if clients > 2:
        return None
    return (
        f"FL_MIN_FIT_CLIENTS is {clients}: the median of so few clients is their mean; set 3 or more to "
        "leave extremes out"
    )


SPEC = StrategySpec(
    name="FedMedian",
    family=Family.ROBUST,
    summary="The median of every coordinate; tolerates malicious clients as long as they are a minority",
    source="Yin et al. 2018, definition 1",
    apply=apply,
    weights_by_examples=False,
    withstands=lambda _values, count: (count - 1) // 2,
    advice=advice,
    advice_help="the median of FL_MIN_FIT_CLIENTS clients, 1 or 2, is their mean",
    example_clients=5,
)
