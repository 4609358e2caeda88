"""Who chooses the clients of a phase: Flower's FedAvg, or the strategy of an app."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Protocol

from oneflower.aggregation import NDArray
from oneflower.flower.api import ArrayRecord, ConfigRecord, Grid, Message

APP_STATE: Final = "app-strategy"
"""Before the names of the arrays that hold the state of an app's strategy."""


class Sampling(Protocol):
    """Who chooses the clients of a phase, and makes the messages to them: Flower's FedAvg does."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the training messages."""

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the evaluation messages."""

    def summary(self) -> None:
        """Log how clients are chosen."""


class SamplingState(Protocol):
    """What a `Sampling` of an app keeps from round to round."""

    def arrays(self) -> dict[str, NDArray]:
        """Return a copy of it, under names that begin with `APP_STATE`."""

    def load(self, state: Mapping[str, NDArray]) -> None:
        """Take up that of a checkpoint; an empty one starts fresh."""

    def snapshot(self) -> Callable[[], None]:
        """Return what puts it back as it is now."""


@contextmanager
def without_waiting(sampling: object) -> Iterator[None]:
    """Let a strategy of Flower's sample from the nodes that are there, and wait for no others.

    The round loop has waited for them. Flower's sampling would wait for ever for `min_available_nodes`,
    where a client has left between training and evaluation.
    """
    least = getattr(sampling, "min_available_nodes", None)
    if least is None:
        yield
        return
    sampling.min_available_nodes = 0  # type: ignore[attr-defined]
    try:
        yield
    finally:
        sampling.min_available_nodes = least  # type: ignore[attr-defined]
