"""The one driver of all strategies: Flower's sampling and messages, a spec's rule and state."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from logging import INFO, WARNING

import numpy as np

from oneflower.aggregation import (
    WEIGHT,
    Arrays,
    Bounded,
    NDArray,
    Ordered,
    Round,
    Shares,
    State,
    StrategySpec,
    Update,
    Values,
    bound_changes,
    form_of,
    median_metrics,
    model_schema,
    shares,
    weighted_metrics,
)
from oneflower.aggregation.compiled import summary as compiled_summary
from oneflower.errors import CheckpointError, SettingsError
from oneflower.flower.api import ArrayRecord, ConfigRecord, Grid, Message, MetricRecord, log, strategy
from oneflower.flower.grid import Reply
from oneflower.flower.records import NewModel, array_views, to_array
from oneflower.settings import TrainingConfig
from oneflower.training.collected import Parse
from oneflower.training.fitting import form_difference
from oneflower.training.replies import ReplyError, parse_evaluation, parse_update
from oneflower.training.sampling import APP_STATE, Sampling, SamplingState, without_waiting
from oneflower.training.streaming import Streaming

RootUpdate = Callable[[int, ArrayRecord], ArrayRecord]
"""(round, the model that the clients were sent) to what a training on trusted data makes of it."""


@dataclass(slots=True, kw_only=True)
class Strategy:
    """A strategy at work.

    Attributes
    ----------
    spec, values
        What it is, and its parameters.
    sampling
        Flower's FedAvg, or an app's strategy, for the choice of the clients and the messages to them.
    sampling_state
        What that strategy keeps from round to round; None for Flower's FedAvg, which keeps nothing.
    state
        What the rule keeps from round to round; None before the first one.
    shares
        Which updates the last aggregation used, and their weights.
    norm_bound, max_weight
        FL_UPDATE_NORM_BOUND and FL_MAX_CLIENT_WEIGHT, 0 for none.
    weighted_by
        The metric that holds the number of examples.
    seed
        FL_SEED.
    root_update
        The app's own training on data that it trusts, (round, arrays) to arrays.
    streaming
        What sums updates as they come, or keeps them until all have come.
    """

    spec: StrategySpec
    values: Values
    norm_bound: float = 0.0
    max_weight: float = 0.0
    weighted_by: str = WEIGHT
    seed: int = 0
    root_update: RootUpdate | None = None
    sampling: Sampling = field(default_factory=strategy.FedAvg)
    sampling_state: SamplingState | None = None
    state: State | None = None
    shares: Shares | None = None
    streaming: Streaming = field(default_factory=Streaming)

    @property
    def name(self) -> str:
        """What the journal and the checkpoints call it: its value of FL_STRATEGY."""
        return self.spec.name

    def summary(self) -> None:
        """Log the strategy, each of its parameters by name, and Flower's sampling."""
        log(INFO, "\t├──> Strategy: %s", self.spec.name)
        for parameter in self.spec.parameters:
            log(INFO, "\t│\t├── %s: %s", parameter.key, parameter.of(self.values))
        log(INFO, "\t│\t├── minimum valid updates: %d", self.spec.minimum_updates(self.values))
        log(INFO, "\t│\t└── aggregated by: %s", compiled_summary())
        self.sampling.summary()

    # --- state ------------------------------------------------------------------------------------

    def state_arrays(self) -> dict[str, NDArray]:
        """Return a copy of the state, empty before the first round.

        A copy, because the next round may overwrite the state while a checkpoint is still being written.
        """
        sampling = {} if self.sampling_state is None else self.sampling_state.arrays()
        return {name: array.copy() for name, array in (self.state or {}).items()} | sampling

    def load_state(self, state: Mapping[str, NDArray], model: Arrays) -> None:
        """Take up the state of a checkpoint of this model; an empty one starts fresh.

        Raises
        ------
        CheckpointError
            It is not a state that this strategy can have left.
        """
        self.state = None
        if self.sampling_state is not None:
            self.sampling_state.load({name: state[name] for name in state if name.startswith(APP_STATE)})
        state = {name: array for name, array in state.items() if not name.startswith(APP_STATE)}
        if not state:
            return
        expected = form_of(self.spec.init(model))
        if not expected:
            log(WARNING, "%s keeps no state: %d arrays are ignored", self.spec.name, len(state))
            return
        reason = form_difference(form_of(state), expected) or self.spec.check_state(state)
        if reason is not None:
            raise CheckpointError(
                f"the checkpoint's state of {self.spec.name} cannot be used: {reason}; "
                "restore an older checkpoint"
            )
        self.state = {name: np.array(array) for name, array in state.items()}

    def stream(self, streaming: Streaming) -> str | None:
        """Sum updates as they come, where the rule is a mean."""
        if not self.spec.streams:
            return f"{self.name} compares all updates of a round"
        self.streaming = streaming
        return None

    @property
    def changes(self) -> Mapping[int, float] | None:
        """Norms of the changes of this round's updates, by client, where they were taken as they came."""
        return self.streaming.changes

    def snapshot(self) -> Callable[[], None]:
        """Return what puts the state back as it is now: a rule replaces its own with the new model alone."""
        return (lambda: None) if self.sampling_state is None else self.sampling_state.snapshot()

    @property
    def evaluation_changes_state(self) -> bool:
        """Whether the evaluation of the clients can change the state: where it calls an app's code."""
        return self.sampling_state is not None

    # --- a round ----------------------------------------------------------------------------------

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the training messages: the model, the config, and what this strategy sends to clients."""
        config.update(self.spec.to_clients(self.values))
        return self.sampling.configure_train(server_round, arrays, config, grid)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the evaluation messages."""
        with without_waiting(self.sampling):
            return list(self.sampling.configure_evaluate(server_round, arrays, config, grid))

    def update_parser(self, model: Arrays) -> Parse[Update]:
        """Return what reads an update of the model's form."""
        schema, take = model_schema(model), self.streaming.begin(model)

        def parse(reply: Reply) -> Update:
            message = reply.message
            update = parse_update(message, schema, client=reply.node_id, weighted_by=self.weighted_by)
            return take(update, message)

        return parse

    def evaluation_parser(self) -> Parse[Update]:
        """Return what reads an evaluation."""
        return lambda reply: parse_evaluation(
            reply.message, client=reply.node_id, weighted_by=self.weighted_by
        )

    def odd(self, updates: Sequence[Update]) -> dict[int, ReplyError]:  # noqa: ARG002 - part of `Driver`
        """Return nothing: each update was compared with the model when it came."""
        return {}

    def bounded(self, model: Arrays, updates: Ordered, *, quarantined: int = 0) -> Bounded:
        """Bound how far each update moves the model, where the rule itself withstands no update at all.

        A rule that does is left its updates as they came: it needs to see who is far from the others.
        Integers count batches, so that they grow with the examples: both bounds together are theirs.
        """
        values = self.spec.after_quarantine(self.values, quarantined, len(updates))
        if self.spec.withstands(values, len(updates)):
            return Bounded(updates=updates)
        of_counters, norm_of = self.norm_bound * self.max_weight, self.streaming.norm
        return bound_changes(updates, model, self.norm_bound, of_counters, norm_of)

    def aggregate(
        self,
        server_round: int,
        model: Arrays,
        updates: Ordered,
        *,
        quarantined: int = 0,
        clients_decide: bool = False,
    ) -> tuple[ArrayRecord, MetricRecord]:
        """Combine the updates of a round into the next model, and the metrics of those that entered it.

        The result depends on the updates' content and not on who sent them when. `model` is what the clients
        were sent; `quarantined` clients were left out by the checks. Where the clients' metrics decide
        something, they are the medians of all updates.

        Raises
        ------
        AggregationError
            There are fewer updates than the rule needs, they are not of the model's form, or the new model
            or state would not be finite. The state is then as it was.
        """
        new, values = NewModel(), self.spec.after_quarantine(self.values, quarantined, len(updates))
        state = self.spec.init(model) if self.state is None else self.state
        root, folded = self._root(server_round, model), self.streaming.mean
        this_round = Round(
            number=server_round, seed=self.seed, allocate=new.allocate, root=root, folded=folded
        )
        aggregate = self.spec.aggregate(updates, model, state, values, this_round)
        self.state, self.shares = aggregate.state, shares(self.spec, updates, aggregate)
        metrics = median_metrics(updates) if clients_decide else weighted_metrics(aggregate.used)
        if not aggregate.used:
            log(WARNING, "no update entered the model round=%d: %s trusts none", server_round, self.name)
        arrays = dict(aggregate.model)
        self.streaming.end()
        del aggregate  # a view that lives on would force a copy
        return new.to_record(arrays, tuple(model)), MetricRecord(dict(metrics))

    def _root(self, server_round: int, model: Arrays) -> Arrays | None:
        if not self.spec.needs_root or self.root_update is None:
            return None
        sent = ArrayRecord({name: to_array(array) for name, array in model.items()})
        return array_views(self.root_update(server_round, sent))

    def aggregate_evaluation(
        self,
        server_round: int,  # noqa: ARG002 - part of `Driver`
        updates: Ordered,
        *,
        clients_decide: bool = False,
    ) -> MetricRecord | None:
        """Return the mean of the clients' metrics; their median where it decides something."""
        metrics = median_metrics(updates) if clients_decide else weighted_metrics(updates)
        return MetricRecord(dict(metrics))


def build_strategy(
    config: TrainingConfig,
    *,
    sampling: Sampling | None = None,
    sampling_state: SamplingState | None = None,
    weighted_by: str = WEIGHT,
    root_update: RootUpdate | None = None,
) -> Strategy:
    """Return the strategy that this training asks for, with its parameters and client minimums.

    `sampling` replaces Flower's FedAvg where an app has chosen how clients are sampled and what the records
    are called, `sampling_state` is what that keeps; `weighted_by` is the metric that holds the number of
    examples.

    Raises
    ------
    SettingsError
        There is no strategy of this name, or it needs an update of the app's own and the app makes none.
    """
    if config.rule.needs_root and root_update is None:
        raise SettingsError(
            f"FL_STRATEGY is {config.strategy}, which compares each update with the app's own training on "
            "data of the server, and this app offers none: it calls train without root_update, or found no "
            "data on this machine. Give the server data, or choose another strategy, such as Robust"
        )
    return Strategy(
        spec=config.rule,
        root_update=root_update,
        seed=config.seed,
        values=config.strategy_parameters(),
        norm_bound=config.update_norm_bound,
        max_weight=config.max_client_weight,
        weighted_by=weighted_by,
        sampling_state=sampling_state,
        sampling=sampling
        or strategy.FedAvg(
            min_train_nodes=config.quorum,
            min_evaluate_nodes=config.min_evaluate_clients,
            min_available_nodes=config.shown_clients,
        ),
    )
