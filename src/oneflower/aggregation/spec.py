"""What a strategy is: one declaration beside its rule, from which everything else about it is derived."""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from oneflower.aggregation.blocks import Allocate, Combined, Whole, new_array, require_one_form
from oneflower.aggregation.checks import is_finite
from oneflower.aggregation.errors import AggregationError
from oneflower.aggregation.mean import weighted_mean
from oneflower.aggregation.parameter import NUM_MALICIOUS, AnyParameter, Values
from oneflower.aggregation.points import Points
from oneflower.aggregation.updates import Arrays, NDArray, Ordered, Update, form_of

State = Mapping[str, NDArray]
"""All that a strategy keeps from one round to the next. A checkpoint holds these arrays under these names."""


class Family(StrEnum):
    """How strategies work, in the order in which a form offers them."""

    MEAN = "mean"
    SERVER_OPTIMIZER = "server optimizer"
    ROBUST = "robust rule"


@dataclass(frozen=True, slots=True)
class Bound:
    """The least number of updates with which a rule keeps its promise: per_malicious * f + constant."""

    per_malicious: int = 0
    constant: int = 1

    def __call__(self, num_malicious: int) -> int:
        """Return the number for f malicious clients."""
        return self.per_malicious * num_malicious + self.constant

    def most_malicious(self, updates: int) -> int:
        """Return the largest f for which so many updates are enough; 0 where there is none."""
        return max(0, updates - self.constant) // self.per_malicious if self.per_malicious else 0

    def __str__(self) -> str:
        return f"{self.per_malicious}f+{self.constant}" if self.per_malicious else str(self.constant)


def unmixed(points: Points) -> Points:
    """Return the updates themselves."""
    return points


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a rule may know of the round besides its updates.

    Attributes
    ----------
    number
        The training's true round, 1 for the first, also after a resume.
    seed
        FL_SEED.
    allocate
        Makes the memory of the new model.
    mix
        Puts means in the place of the updates (FL_PRE_AGGREGATION).
    root
        What the app's own training on data that it trusts made of the model that the clients were sent.
    folded
        Returns the mean of the updates where they were summed when they came, see `folding.Folding.mean`.
    """

    number: int = 1
    seed: int = 0
    allocate: Allocate = new_array
    mix: Callable[[Points], Points] = unmixed
    root: Arrays | None = None
    folded: Callable[[Ordered, Allocate], Combined] | None = None

    def mean(self, updates: Ordered, whole: Whole | None = None) -> Combined:
        """Return the mean weighted by examples; `whole` as `mean.weighted_mean` takes it."""
        if self.folded is not None:
            return self.folded(updates, self.allocate)
        return weighted_mean(updates, self.allocate, whole)

    def points(self, updates: Ordered) -> Points:
        """Return what a rule that weighs all alike aggregates."""
        return self.mix(Points(updates))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Aggregate:
    """What a rule made of the updates.

    Attributes
    ----------
    model
        The new model. Krum's are the chosen update's own arrays, not a copy.
    state
        What the next round needs.
    used
        The diagnostics: the updates that entered the model, in the fixed order. All of them, or those
        that the rule selected.
    finite
        The arrays of the new model that were found to be finite when they were computed.
    shares
        The weight of each update that was given, in their order, where the rule finds weights of its own;
        0 for one that is not in the model.
    """

    model: Arrays
    state: State
    used: tuple[Update, ...]
    finite: frozenset[str] = frozenset()
    shares: tuple[float, ...] | None = None


Init = Callable[[Arrays], State]
"""Returns the state before round 1 of a training of this model."""

Apply = Callable[[Ordered, Arrays, State, Values, Round], Aggregate]
"""Combines (updates, the model that the clients were sent, state, parameters, round). Updates and model are
only read. The state is given away: its arrays may be overwritten and returned as the next state."""

Advice = Callable[[Values, int], str | None]
"""Returns what an operator should know of these values with so many clients a round, or None."""


Withstands = Callable[[Values, int], int]


def no_state(_model: Arrays) -> State:
    """Return the state of a strategy that keeps nothing."""
    return MappingProxyType({})


def require_finite(model: Arrays, known: Container[str] = ()) -> None:
    """Raise AggregationError where finite updates have given a model that is not finite.

    The arrays in `known` are known to be finite.
    """
    for name, array in model.items():
        if name not in known and not is_finite(array):
            raise AggregationError(
                f"the new model holds NaN or infinity in array {name!r}, though all that the clients sent is "
                "finite: it is too large to be combined. The model stays as it was. FL_UPDATE_NORM_BOUND "
                "above 0 bounds what each client sends"
            )


def _require_root(name: str, model: Arrays, root: Arrays | None) -> None:
    """Raise AggregationError without an update of the app's own, of the model's form and finite."""
    if root is None:
        raise AggregationError(f"{name} compares the updates with one of the app's own, and was given none")
    if form_of(root) != form_of(model) or not all(is_finite(array) for array in root.values()):
        raise AggregationError(
            "the app's own update differs from the model in array names, shapes or dtypes, or is not "
            "finite; expected what its training on trusted data made of the model: correct root_update"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategySpec:
    """One strategy.

    Attributes
    ----------
    name
        As FL_STRATEGY has it. Flower's class of the same algorithm has the same name.
    summary
        What it does, in one line without a full stop.
    source
        The paper.
    weights_by_examples
        Whether num-examples, which a client chooses, is a weight of its update.
    advice, advice_help
        What an operator should know of the values, and when that is so, in one line for the documents.
    withstands
        Of (parameters, number of updates): how many of them the rule withstands whatever they hold.
    check_state
        Returns what is wrong with the values of a state from a checkpoint, or None.
    example_clients, example_values
        Nodes of the example in `examples/strategies`, and its parameters where they are not the defaults.
    needs_root
        Whether the rule compares the updates with one of the app's own, `Round.root`.
    differs_from_flower
        How the numbers differ from those of Flower's class, and why; empty where they are the same.
    """

    name: str
    family: Family
    summary: str
    source: str
    apply: Apply
    weights_by_examples: bool
    withstands: Withstands = lambda _values, _count: 0
    init: Init = no_state
    parameters: tuple[AnyParameter, ...] = ()
    bound: Bound = field(default_factory=Bound)
    advice: Advice = lambda _values, _clients: None
    advice_help: str = ""
    check_state: Callable[[State], str | None] = lambda _state: None
    example_clients: int = 3
    example_values: Values = field(default_factory=dict)
    differs_from_flower: str = ""
    needs_root: bool = False

    @property
    def streams(self) -> bool:
        """Whether the rule needs no more of the updates than `Round.mean`, which is summed as they come."""
        return self.family in {Family.MEAN, Family.SERVER_OPTIMIZER}

    @property
    def example(self) -> dict[str, float]:
        """The value of every parameter in the example."""
        return self.values(**self.example_values)

    def values(self, **given: float) -> dict[str, float]:
        """Return the value of every parameter: those given, and the defaults of the others.

        Raises
        ------
        AggregationError
            A value is out of its bounds, or the strategy has no such parameter.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        if unknown := sorted(set(given) - set(known)):
            raise AggregationError(f"{self.name} has no parameter {unknown[0]!r}; it has: {', '.join(known)}")
        for name, value in given.items():
            if not known[name].in_bounds(value):
                raise AggregationError(
                    f"{name} is {value}; expected {known[name].bounds}: set {known[name].variable}"
                )
        return {name: given.get(name, parameter.default) for name, parameter in known.items()}

    def minimum_updates(self, values: Values) -> int:
        """Return the least number of updates with which the rule keeps its promise."""
        return self.bound(self._malicious(values))

    def after_quarantine(self, values: Values, quarantined: int, valid: int = 0) -> Values:
        """Return the parameters for a round in which the checks have left out so many clients.

        Each of them is one of the malicious clients that the rule expects, and its update no longer enters
        the rule (decision 005). But f falls only as far as the number of valid updates makes necessary: who
        joins in order to be quarantined does not lower it for the others (decision 175).
        """
        if NUM_MALICIOUS not in self.parameters:
            return values
        least, most = max(0, self._malicious(values) - quarantined), self._malicious(values)
        return {**values, NUM_MALICIOUS.name: max(least, min(most, self.bound.most_malicious(valid)))}

    def to_clients(self, values: Values) -> dict[str, float]:
        """Return what every training message carries for this strategy."""
        return {each.client_key: each.of(values) for each in self.parameters if each.client_key}

    def aggregate(
        self, updates: Ordered, model: Arrays, state: State, values: Values, this_round: Round
    ) -> Aggregate:
        """Apply the rule to updates of this model.

        Raises
        ------
        AggregationError
            There are fewer updates than the rule needs, they or the state are not of the model's form, or
            the new model is not finite. The state is then as it was.
        """
        needed, given = self.minimum_updates(values), len(updates)
        if given < needed:
            raise AggregationError(
                f"{self.name} was given {given} valid updates; expected at least {needed}"
                f"{self._assuming(values)}"
            )
        require_one_form(model, updates)
        if self.needs_root:
            _require_root(self.name, model, this_round.root)
        aggregate = self.apply(updates, model, state, values, this_round)
        require_finite(aggregate.model, aggregate.finite)
        return aggregate

    def _malicious(self, values: Values) -> int:
        return NUM_MALICIOUS.of(values) if NUM_MALICIOUS in self.parameters else 0

    def _assuming(self, values: Values) -> str:
        if NUM_MALICIOUS not in self.parameters:
            return ": wait for more clients"
        return (
            f" with {self._malicious(values)} malicious clients assumed: wait for more clients, or lower "
            f"{NUM_MALICIOUS.variable}"
        )
