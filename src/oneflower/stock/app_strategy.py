"""The adapter that lets an app's own strategy work in oneflower's round loop.

The strategy chooses the clients, combines their replies, and keeps what it likes. Around it: replies are
checked before it sees them, come in the order of their content, and every random number of the server comes
from the seed and the round.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from logging import INFO, WARNING

from oneflower.aggregation import (
    WEIGHT,
    AggregationError,
    Arrays,
    Bounded,
    NDArray,
    Ordered,
    Shares,
    Update,
    bound_changes,
    median_metrics,
)
from oneflower.errors import AppError
from oneflower.flower.api import ArrayRecord, ConfigRecord, Grid, Message, MetricRecord, log, strategy
from oneflower.flower.grid import Reply
from oneflower.flower.private_noise import digest_of
from oneflower.flower.refusals import words_of
from oneflower.stock import returned
from oneflower.stock.app_replies import Forms, merged_model, read_reply, require_loss, with_bounds
from oneflower.stock.app_sampling import AppSampling, innermost
from oneflower.stock.app_state import AppState
from oneflower.stock.growing import Growing
from oneflower.training.collected import Parse
from oneflower.training.replies import ReplyError
from oneflower.training.streaming import Streaming

GROWING = strategy.FedXgbBagging | strategy.FedXgbCyclic
"""Flower's strategies whose model changes its shape."""
MEANS = frozenset({"FedAvg", "FedProx", "FedAvgM", "FedAdagrad", "FedAdam", "FedYogi", "FedOpt", "QFedAvg"})
"""Flower's strategies that one client can move as far as it likes: the others withstand it themselves."""


@dataclass(slots=True, kw_only=True)
class AppStrategy:
    """An app's own strategy as a `training.driver.Driver`.

    Attributes
    ----------
    inner
        What the app has made.
    sampling
        How it chooses clients.
    state
        What it keeps from round to round.
    norm_bound, max_weight
        FL_UPDATE_NORM_BOUND and FL_MAX_CLIENT_WEIGHT, where the app's rule is a mean of Flower's; 0 for none.
    """

    inner: strategy.Strategy
    sampling: AppSampling
    state: AppState
    norm_bound: float = 0.0
    max_weight: float = 0.0
    _forms: Forms = field(default_factory=Forms)
    _replies: dict[int, tuple[Message, Update]] = field(default_factory=dict)
    _sent: Arrays = field(default_factory=dict)
    _growing: Growing | None = None

    def __post_init__(self) -> None:
        """Find out whether the rule is one of Flower's: whether its updates have one form, or grow."""
        rule = type(innermost(self.inner))
        flowers, grows = is_flowers_code(rule.aggregate_train), issubclass(rule, GROWING)
        self._forms.fixed, self._forms.grows = flowers and not grows, flowers and grows
        self._forms.record = str(getattr(innermost(self.inner), "arrayrecord_key", "arrays"))
        if rule.__name__ not in MEANS or not is_flowers_code(rule.aggregate_train):
            self.norm_bound = self.max_weight = 0.0

    @property
    def name(self) -> str:
        """The class of the app's strategy; those that wrap another one name it, too."""
        return f"{name_of(self.inner)} (app)"

    @property
    def has_own_rule(self) -> bool:
        """Whether the app's code, and not Flower's, combines the updates."""
        return not is_flowers_code(type(innermost(self.inner)).aggregate_train)

    @property
    def shares(self) -> Shares | None:
        """Return None: only the app's strategy knows what it uses."""
        return None

    def summary(self) -> None:
        """Log the app's own summary."""
        log(INFO, "\t├──> Strategy of the app: %s", self.name)
        self.inner.summary()

    @property
    def weighted_by(self) -> str:
        """The metric that holds the number of examples."""
        return weight_name(self.inner)

    # --- state ------------------------------------------------------------------------------------

    def stream(self, streaming: Streaming) -> str | None:  # noqa: ARG002 - part of `Driver`
        """Return why updates are kept until all have come."""
        return "the app's own strategy aggregates them"

    @property
    def changes(self) -> None:
        """Nothing is measured as updates come."""

    def state_arrays(self) -> dict[str, NDArray]:
        """Return what the strategy has changed of itself."""
        return self.state.arrays()

    def load_state(self, state: Mapping[str, NDArray], model: Arrays) -> None:
        """Take up the state of a checkpoint; the model of one has the form of the clients' updates."""
        self.state.load(state)
        self._forms.known = bool(state) or self._forms.known
        del model

    def snapshot(self) -> Callable[[], None]:
        """Return what puts the state back as it is now."""
        return self.state.snapshot()

    @property
    def evaluation_changes_state(self) -> bool:
        """Whether the evaluation of the clients can change the state: it calls the app's code."""
        return True

    # --- a round ----------------------------------------------------------------------------------

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the app's training messages."""
        return self.sampling.configure_train(server_round, arrays, config, grid)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the app's evaluation messages."""
        return self.sampling.configure_evaluate(server_round, arrays, config, grid)

    def update_parser(self, model: Arrays) -> Parse[Update]:
        """Return what reads an update: of the model's form, where every update must have it."""
        self._replies.clear()
        self._sent = model
        rule = innermost(self.inner)
        merged = isinstance(rule, strategy.FedXgbBagging)
        growing = self._growing = Growing(model, merged) if self._forms.grows else None
        flowers = self._forms.fixed or self._forms.grows

        def parse(reply: Reply) -> Update:
            expected = self._forms.expected(model)
            update = read_reply(reply, self.weighted_by, expected, one_record=flowers, weighed=flowers)
            if flowers and isinstance(rule, strategy.QFedAvg):
                require_loss(update, rule.train_loss_key, rule.q)
            if growing is not None:
                growing.check(update.client, update.arrays)
            self._replies[update.client] = reply.message, update
            return update

        return parse

    def evaluation_parser(self) -> Parse[Update]:
        """Return what reads an evaluation."""
        self._replies.clear()
        self._sent, self._growing = {}, None
        flowers = is_flowers_code(type(innermost(self.inner)).aggregate_evaluate)

        def parse(reply: Reply) -> Update:
            update = read_reply(reply, self.weighted_by, None, weighed=flowers)
            self._replies[update.client] = reply.message, update
            return update

        return parse

    def odd(self, updates: Sequence[Update]) -> dict[int, ReplyError]:
        """Return whose reply has another form than most of the round have."""
        read = {each.client: self._replies[each.client] for each in updates}
        return self._forms.odd(read, self._sent, self._growing)

    def bounded(self, model: Arrays, updates: Ordered, *, quarantined: int = 0) -> Bounded:
        """Bound the changes where the rule is one of Flower's means; one of the app's own stays as it is.

        Before round 1 an app may have sent a placeholder, from which nothing can be measured.
        """
        del quarantined
        sent = _shapes(model)
        if not self.norm_bound or any(_shapes(update.arrays) != sent for update in updates):
            return Bounded(updates=updates)
        return bound_changes(updates, model, self.norm_bound, self.norm_bound * self.max_weight)

    def aggregate(
        self,
        server_round: int,
        model: Arrays,
        updates: Ordered,
        *,
        quarantined: int = 0,
        clients_decide: bool = False,
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Have the app's strategy combine the replies; the model has the dtypes of the updates."""
        del model, quarantined
        replies = self._messages(updates)
        content = digest_of(*(reply.content for reply in replies)) if _draws_noise(self.inner) else ""
        self.sampling.seed("server", server_round, "aggregate", content)
        try:
            arrays, metrics = returned.model(self.inner, self.inner.aggregate_train(server_round, replies))
            merged = None if arrays is None else merged_model(arrays, updates)
        except (AggregationError, AppError):
            raise
        except Exception as error:
            again, self._forms.strict = self._forms.strict, True
            if self.has_own_rule and not _is_flowers(error) and again:
                raise  # the app's own code fails on replies that are alike, too
            raise AggregationError(f"{self.name}: {words_of(error)}") from error
        if merged is None and updates:
            log(WARNING, "the app's strategy gave no model round=%d: it stays as it was", server_round)
        self._forms.known = self._forms.known or merged is not None
        if clients_decide and self._averages("train_metrics_aggr_fn"):
            metrics = MetricRecord(dict(median_metrics(updates)))
        return merged, metrics

    def aggregate_evaluation(
        self, server_round: int, updates: Ordered, *, clients_decide: bool = False
    ) -> MetricRecord | None:
        """Have the app's strategy combine the metrics of the evaluation."""
        self.sampling.seed("server", server_round, "aggregate evaluation")
        try:
            found = self.inner.aggregate_evaluate(server_round, self._messages(updates))
        except Exception as error:  # noqa: BLE001 - clients' metrics never end a training
            log(
                WARNING,
                "the app's strategy cannot combine the evaluation round=%d reason=%s",
                server_round,
                words_of(error),
            )
            return None
        metrics = returned.metrics(self.inner, "aggregate_evaluate", found)
        if metrics is not None and clients_decide and self._averages("evaluate_metrics_aggr_fn"):
            return MetricRecord(dict(median_metrics(updates)))
        return metrics

    def _messages(self, updates: Ordered) -> list[Message]:
        """Return the replies in the order of the updates, as bounded, from the ids that the app knows."""
        return [
            self.sampling.ids.from_node(with_bounds(*self._replies[update.client], update, self.weighted_by))
            for update in updates
        ]

    def _averages(self, name: str) -> bool:
        """Whether metrics are combined by Flower's own mean, which one client can move as it likes."""
        rule, function = innermost(self.inner), getattr(innermost(self.inner), name, None)
        return self._forms.fixed and type(rule).__module__.startswith("flwr.") and is_flowers_code(function)


def _shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}


def name_of(inner: strategy.Strategy) -> str:
    """Return what an app's strategy is called: its class, and that of the one it wraps."""
    wrapped = getattr(inner, "strategy", None)
    of = f" of {name_of(wrapped)}" if isinstance(wrapped, strategy.Strategy) else ""
    return f"{type(inner).__name__}{of}"


def weight_name(inner: strategy.Strategy) -> str:
    """Return the metric by which an app's strategy weights the updates."""
    return str(getattr(innermost(inner), "weighted_by_key", WEIGHT))


def _draws_noise(inner: strategy.Strategy) -> bool:
    """Whether a strategy, or one that it wraps, adds the noise of differential privacy."""
    wrapped = getattr(inner, "strategy", None)
    return type(inner).__name__.startswith("DifferentialPrivacy") or (
        isinstance(wrapped, strategy.Strategy) and _draws_noise(wrapped)
    )


def is_flowers_code(function: object) -> bool:
    """Whether a function is one of Flower's, and not the app's."""
    return str(getattr(function, "__module__", "")).partition(".")[0] == "flwr"


def _is_flowers(error: Exception) -> bool:
    """Whether Flower's code has refused the replies of the clients."""
    return type(error).__module__.partition(".")[0] == "flwr"
