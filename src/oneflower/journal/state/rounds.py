"""How rounds go, and what is kept of them."""

from typing import TYPE_CHECKING, TypeVar

from oneflower.codes import Phase, SupervisorState, Task
from oneflower.journal.events import (
    CheckpointFailed,
    CheckpointSaved,
    ClientsSampled,
    Entry,
    RoundAggregated,
    RoundCompleted,
    RoundFailed,
    RoundStarted,
)
from oneflower.journal.state.marks import mark
from oneflower.journal.state.records import Aggregated, RoundResult, SavedCheckpoint
from oneflower.quality import numbers

if TYPE_CHECKING:
    from oneflower.journal.state.training import TrainingState

T = TypeVar("T")


def started(state: "TrainingState", event: RoundStarted, entry: Entry) -> None:
    """Begin a round, or another try of it."""
    state.attempt = state.attempt + 1 if event.round == state.started_round else 1
    state.started_round, state.clients = event.round, event.asked or event.clients
    state.total = event.rounds or state.total
    state.replies, state.waiting, state.phase = 0, None, Phase.TRAINING
    state.round_began = entry.time
    state.answered.clear()
    state.evaluated.clear()
    state.drawn.clear()


def sampled(state: "TrainingState", event: ClientsSampled, _entry: Entry) -> None:
    """Note who was drawn to train."""
    if event.phase is Task.TRAIN:
        state.drawn.update(event.clients)


def failed(state: "TrainingState", _event: RoundFailed, entry: Entry) -> None:
    """Count a try that gave no model."""
    state.failed_rounds += 1
    mark(state, entry)


def aggregated(state: "TrainingState", event: RoundAggregated, entry: Entry) -> None:
    """Note that the round has its model."""
    state.aggregation_s, state.phase = event.seconds, Phase.EVALUATING
    seconds = 0.0
    if state.started_round == event.round and state.round_began is not None and entry.time is not None:
        # A wall clock that was set back in between would make it negative.
        seconds = max(0.0, (entry.time - state.round_began).total_seconds())
    state.aggregated[event.round] = Aggregated(valid=event.valid, seconds=seconds)


def completed(state: "TrainingState", event: RoundCompleted, entry: Entry) -> None:
    """End the round and keep its result."""
    result = RoundResult(
        number=event.round,
        valid=event.valid,
        seconds=event.seconds,
        metrics=numbers(event.metrics),
        time=entry.time,
    )
    state.rounds[event.round] = result
    _limit(state, state.rounds)
    state.leaders.take(event.round, result.metrics)
    state.aggregated.pop(event.round, None)
    state.total = event.rounds or state.total
    state.phase, state.losses_in_a_row = Phase.BETWEEN, 0
    if state.supervisor is SupervisorState.TRAINING:
        state.supervisor_reason = ""  # the loss before this run: it has come back from it


def checkpoint_saved(state: "TrainingState", event: CheckpointSaved, entry: Entry) -> None:
    """Note a round that is safe on the disk."""
    state.checkpoint_failure, state.saving = None, None
    state.checkpoints[event.round] = SavedCheckpoint(
        number=event.round,
        file=event.file,
        size_bytes=event.size_bytes,
        sha256=event.sha256,
        seconds=event.seconds,
        time=entry.time,
    )
    _limit(state, state.checkpoints)


def checkpoint_failed(state: "TrainingState", event: CheckpointFailed, entry: Entry) -> None:
    """Note a round that could not be saved."""
    state.failed_checkpoints += 1
    state.checkpoint_failure = event
    mark(state, entry)


def _limit(state: "TrainingState", kept: dict[int, T]) -> None:
    if state.most_rounds is not None and len(kept) > state.most_rounds:
        del kept[next(iter(kept))]
