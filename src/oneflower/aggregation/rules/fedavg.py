"""FedAvg: the mean weighted by examples."""

from oneflower.aggregation.parameter import Values
from oneflower.aggregation.spec import Aggregate, Family, Round, State, StrategySpec
from oneflower.aggregation.updates import Arrays, Ordered


def apply(updates: Ordered, _model: Arrays, state: State, _values: Values, this_round: Round) -> Aggregate:
    """Average the updates (McMahan et al. 2017, algorithm 1)."""
    mean = this_round.mean(updates)
    return Aggregate(model=mean.model, state=state, used=updates, finite=mean.finite)


SPEC = StrategySpec(
    name="FedAvg",
    family=Family.MEAN,
    summary="Federated averaging: the mean of all updates, weighted by their number of examples",
    source="McMahan et al. 2017",
    apply=apply,
    weights_by_examples=True,
)
