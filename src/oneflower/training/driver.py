"""What the round loop asks of a strategy, be it one of oneflower's or the app's own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from oneflower.aggregation import Arrays, Bounded, NDArray, Ordered, Shares, Update
from oneflower.flower.api import ArrayRecord, MetricRecord
from oneflower.training.collected import Parse
from oneflower.training.replies import ReplyError
from oneflower.training.sampling import Sampling
from oneflower.training.streaming import Streaming


class Driver(Sampling, Protocol):
    """A strategy at work in the round loop: `training.strategy.Strategy` and `stock.AppStrategy`."""

    @property
    def name(self) -> str:
        """What the journal, the checkpoints and the summary call it."""

    @property
    def max_weight(self) -> float:
        """Largest weight of one client, in medians of the round; 0 for no bound."""

    @property
    def shares(self) -> Shares | None:
        """Which updates the last `aggregate` used, and their weights; None where that is not known."""

    def summary(self) -> None:
        """Log what it is, before the first round."""

    def state_arrays(self) -> dict[str, NDArray]:
        """Return a copy of what it keeps from round to round, for the checkpoint."""

    def load_state(self, state: Mapping[str, NDArray], model: Arrays) -> None:
        """Take up the state of a checkpoint of this model; CheckpointError where it cannot be one."""

    def stream(self, streaming: Streaming) -> str | None:
        """Sum updates as they come from now on; return why that cannot be, or None."""

    @property
    def changes(self) -> Mapping[int, float] | None:
        """Norms of the changes of this round's updates that were taken as they came, by client."""

    def snapshot(self) -> Callable[[], None]:
        """Return what puts the state back as it is now, before a round is attempted again."""

    @property
    def evaluation_changes_state(self) -> bool:
        """Whether the evaluation of the clients, which follows the checkpoint, can change the state."""

    def update_parser(self, model: Arrays) -> Parse[Update]:
        """Return what reads a reply to a training message with this model."""

    def evaluation_parser(self) -> Parse[Update]:
        """Return what reads a reply to an evaluation message."""

    def odd(self, updates: Sequence[Update]) -> dict[int, ReplyError]:
        """Return by client why its update does not fit those of the others, and is left out."""

    def bounded(self, model: Arrays, updates: Ordered, *, quarantined: int = 0) -> Bounded:
        """Bound how far each update moves the model."""

    def aggregate(
        self,
        server_round: int,
        model: Arrays,
        updates: Ordered,
        *,
        quarantined: int = 0,
        clients_decide: bool = False,
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Combine the updates of a round into the next model (None: it stays) and their metrics.

        Raises
        ------
        AggregationError
            There is no model of these updates; what `snapshot` has returned puts the state back.
        """

    def aggregate_evaluation(
        self, server_round: int, updates: Ordered, *, clients_decide: bool = False
    ) -> MetricRecord | None:
        """Combine the metrics of the clients that have evaluated the model."""
