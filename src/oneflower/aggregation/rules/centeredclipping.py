"""CenteredClipping: the model that was sent, moved by the mean of changes that are cut to a length."""

import numpy as np

from oneflower.aggregation.comparison import lower_median
from oneflower.aggregation.parameter import Parameter, Values
from oneflower.aggregation.points import Use, mean_of_points
from oneflower.aggregation.rules.fedtrimmedavg import trimmed_mean
from oneflower.aggregation.spec import Aggregate, Family, Round, State, StrategySpec
from oneflower.aggregation.updates import Arrays, Ordered

CLIPPING_RADIUS = Parameter(
    name="clipping_radius",
    default=0.0,
    minimum=0.0,
    label="Clipping radius",
    help="Largest length of a change; 0 stands for the median length of the round",
)


def apply(updates: Ordered, model: Arrays, state: State, values: Values, this_round: Round) -> Aggregate:
    """Return x + (1/n) sum_i (x_i - x) min(1, radius / |x_i - x|) around the model x that was sent.

    Karimireddy et al. 2021, "Learning from History for Byzantine Robust Optimization", algorithm 2 with one
    step. The paper clips momenta around the last aggregate; here what a client sends is its whole
    local training, and the last aggregate is the model that it was sent. A length that no float64 holds
    has no share. Integers get their median: one of 2^62 would carry a mean away.
    """
    mixed = this_round.points(updates)
    points = mixed.beside(model)
    squares = np.diagonal(points.products(0, Use.WEIGH))[1:]
    lengths = [float(length) for length in np.sqrt(np.where(np.isnan(squares), np.inf, squares))]
    radius = CLIPPING_RADIUS.of(values) or lower_median(lengths)  # 0 where a majority changes nothing
    shares = [(radius / length if length > radius else 1.0) / len(lengths) for length in lengths]
    weights = [1 - sum(shares), *shares]
    floats = [name for name, array in model.items() if array.dtype.kind == "f"]
    whole = [name for name in model if name not in floats]
    moved = mean_of_points(points.of(floats), weights, this_round.allocate)
    counts = mixed.of(whole)
    counted = trimmed_mean(counts, (len(counts) - 1) // 2, this_round.allocate)
    new = {name: moved.model[name] if name in moved.model else counted.model[name] for name in model}
    return Aggregate(model=new, state=state, used=updates, shares=mixed.shares(shares))


SPEC = StrategySpec(
    name="CenteredClipping",
    family=Family.ROBUST,
    summary="Moves the last model by the mean of changes that are cut to one length; tolerates a minority",
    source="Karimireddy et al. 2021",
    apply=apply,
    weights_by_examples=False,
    withstands=lambda _values, count: (count - 1) // 2,
    parameters=(CLIPPING_RADIUS,),
    example_clients=5,
)
