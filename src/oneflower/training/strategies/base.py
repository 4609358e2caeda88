"""What the six strategies share: Flower's sampling and messages, our checks and numbers."""

from collections.abc import Iterable, Mapping, Sequence
from logging import INFO, WARNING
from typing import Any

from oneflower.aggregation import (
    Aggregate,
    AggregationError,
    Allocate,
    NDArray,
    Schema,
    Update,
    minimum_clients,
    model_schema,
    weighted_mean,
)
from oneflower.flower.api import ArrayRecord, ConfigRecord, Grid, Message, MetricRecord, log, strategy
from oneflower.flower.records import NewModel, array_views
from oneflower.training.strategies import checking
from oneflower.training.strategies.checking import Checked, Rejection
from oneflower.training.strategies.metrics import weighted_metrics


class OneflowerStrategy(strategy.FedAvg):
    """Flower's FedAvg with checked replies and our weighted mean; the base of all six.

    The options are those of the Flower class of the same name. A round goes: `configure_train`, then
    `check_reply` for each reply as it comes, `check_together` for those that passed, `aggregate_train`.
    `check` does the middle two for replies that are all there.
    """

    def __init__(self, **options: Any) -> None:
        options.setdefault("train_metrics_aggr_fn", weighted_metrics)
        options.setdefault("evaluate_metrics_aggr_fn", weighted_metrics)
        super().__init__(**options)
        self._names: tuple[str, ...] | None = None
        self._caught = 0

    @property
    def name(self) -> str:
        """Name of the strategy, as FL_STRATEGY has it."""
        return type(self).__name__

    @property
    def minimum_updates(self) -> int:
        """Fewest valid updates for which the rule keeps its promise."""
        return minimum_clients(self.name, self.parameters().get("num-malicious", 0))

    def parameters(self) -> dict[str, Any]:
        """Return the strategy's own parameters by their run-config names."""
        return {}

    def leave_out(self, quarantined: int) -> None:
        """Tell the rule how many malicious clients the checks of this round have caught already.

        A robust rule then expects that many fewer among the updates that it gets.
        """
        self._caught = quarantined

    def summary(self) -> None:
        """Log the strategy, each of its parameters by name, and Flower's own settings."""
        log(INFO, "\t├──> Strategy: %s", self.name)
        for name, value in self.parameters().items():
            log(INFO, "\t│\t├── %s: %s", name, value)
        log(INFO, "\t│\t└── fewest valid updates: %d", self.minimum_updates)
        super().summary()

    # --- state ------------------------------------------------------------------------------------

    def state_arrays(self) -> dict[str, NDArray]:
        """Return a copy of the server optimizer's state, empty where there is none."""
        return {}

    def load_state_arrays(self, state: Mapping[str, NDArray]) -> None:
        """Take up a state that `state_arrays` returned; a strategy without state says that it ignores it."""
        if state:
            log(WARNING, "%s keeps no optimizer state: %d arrays are ignored", self.name, len(state))

    # --- checks -----------------------------------------------------------------------------------

    def schema(self, arrays: ArrayRecord) -> Schema:
        """Return the form that every reply to a message with this model must have."""
        self._names = tuple(arrays)
        return model_schema(array_views(arrays))

    def check_reply(self, message: Message, schema: Schema) -> str | None:
        """Return why this reply to a training message must not be used, or None."""
        return checking.check_reply(message, schema, self.weighted_by_key)

    def check_evaluation(self, message: Message) -> str | None:
        """Return why this reply to an evaluation message must not be used, or None."""
        return checking.check_evaluation(message, self.weighted_by_key)

    def check_together(self, replies: Iterable[Message]) -> Checked:
        """Compare replies that passed their own check, put them in order, log what is ignored of them."""
        checked = checking.check_together(replies, self.weighted_by_key)
        for remark in checked.remarks:
            log(WARNING, "reply used in part client=%d reason=%s", remark.node_id, remark.reason)
        return checked

    def check(self, replies: Iterable[Message], arrays: ArrayRecord) -> Checked:
        """Check all replies of a training phase; `arrays` is the model that the clients were sent."""
        schema = self.schema(arrays)
        return self._check_all((message, self.check_reply(message, schema)) for message in replies)

    def check_evaluate(self, replies: Iterable[Message]) -> Checked:
        """Check all replies of an evaluation phase."""
        return self._check_all((message, self.check_evaluation(message)) for message in replies)

    def _check_all(self, verdicts: Iterable[tuple[Message, str | None]]) -> Checked:
        passed, rejected = [], []
        for message, reason in verdicts:
            if reason is None:
                passed.append(message)
            else:
                rejected.append(Rejection(node_id=checking.node_id(message), reason=reason))
        together = self.check_together(passed)
        rejected = sorted([*rejected, *together.rejected], key=lambda rejection: rejection.node_id)
        return Checked(valid=together.valid, rejected=rejected, remarks=together.remarks)

    # --- Flower's hooks ---------------------------------------------------------------------------

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Configure the next round as Flower does."""
        self._names = tuple(arrays)
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Combine replies that passed `check`; the result depends on their content, not on their order.

        Raises
        ------
        AggregationError
            There are fewer replies than the rule needs, or replies that were not checked.
        """
        messages = {checking.to_update(message, self.weighted_by_key): message for message in replies}
        model = NewModel()
        aggregate = self._combine(server_round, list(messages), model.allocate)
        contents = [messages[update].content for update in aggregate.used]
        metrics = self.train_metrics_aggr_fn(contents, self.weighted_by_key)
        arrays, names = dict(aggregate.arrays), self._names or tuple(aggregate.arrays)
        del aggregate, messages  # a view that lives on would force a copy
        if set(names) != set(arrays):
            raise AggregationError(
                f"the updates have {len(arrays)} arrays and the model {len(names)}, or their names differ; "
                "expected the same: check replies before aggregating them"
            )
        return model.to_record(arrays, names), metrics

    def _combine(self, server_round: int, updates: Sequence[Update], allocate: Allocate) -> Aggregate:  # noqa: ARG002
        """Apply the strategy's rule."""
        return weighted_mean(updates, allocate=allocate)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:  # noqa: ARG002
        """Average the metrics of the valid replies; those that are not are named in the log."""
        checked = self.check_evaluate(replies)
        for rejected in checked.rejected:
            log(WARNING, "evaluation left out client=%d reason=%s", rejected.node_id, rejected.reason)
        if not checked.valid:
            return None
        return self.evaluate_metrics_aggr_fn(
            [message.content for message in checked.valid], self.weighted_by_key
        )
