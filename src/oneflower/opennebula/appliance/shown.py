"""What OneGate shows of a training: a view of its state, as keys and texts."""

from collections.abc import Iterator
from typing import Final

from oneflower.codes import Phase
from oneflower.journal import TrainingState
from oneflower.quality import Family, primary

MOST_ROUNDS: Final = 100
"""OneGate shows the last round; a few more are kept for a resume."""

STATES: Final = {
    Phase.NOTHING: "waiting",
    Phase.STARTING: "training",
    Phase.WAITING: "waiting",
    Phase.RESTARTING: "waiting",
    Phase.TRAINING: "training",
    Phase.EVALUATING: "training",
    Phase.BETWEEN: "training",
    Phase.SAVING: "saving",
    Phase.FINISHED: "finished",
    Phase.FAILED: "failed",
    Phase.INTERRUPTED: "waiting",
}
"""FL_STATE by what the training does; it is waiting, too, until the run's ServerApp has begun."""
_IN_A_ROUND: Final = frozenset({Phase.TRAINING, Phase.EVALUATING})


def shown(state: TrainingState) -> dict[str, str]:
    """Return the values for OneGate; what is not known has no key."""
    return {key: text for key, text in _values(state) if text}


def _values(state: TrainingState) -> Iterator[tuple[str, str]]:
    is_submitted = state.phase is Phase.STARTING and not state.has_begun
    yield "FL_STATE", "waiting" if is_submitted else STATES[state.phase]
    if state.began is not None:
        yield "FL_ROUND", str(state.newest_round)
        yield "FL_ROUNDS", str(state.total or "")
        yield "FL_LOSS", _loss(state)
        yield "FL_CHECKPOINT_ROUND", str(_checkpoint_round(state) or "")
    yield "FL_CLIENTS", _clients(state)
    yield "FL_ERROR", _error(state)
    yield "FL_STOPPED", str((state.finish and state.finish.stopped) or "")


def _loss(state: TrainingState) -> str:
    result = state.rounds.get(state.newest_round)
    found = primary(result.metrics, Family.LOSS) if result is not None else None
    return "" if result is None or found is None else f"{result.metrics[found]:.6g}"


def _checkpoint_round(state: TrainingState) -> int:
    if state.finish is not None:
        return state.finish.round if state.finish.path else 0
    return max([*state.checkpoints, *state.resumed_after[-1:]], default=0)


def _clients(state: TrainingState) -> str:
    if state.waiting is not None:
        return str(state.waiting.connected)
    if state.phase in _IN_A_ROUND:
        return str(state.clients)
    last = state.rounds.get(state.done)
    return "" if last is None else str(last.valid)


def _error(state: TrainingState) -> str:
    if state.failure is not None:
        return state.failure.words
    if state.saving is not None:
        return f"the model of round {state.saving.round} is not saved yet: {state.saving.reason}"
    if state.checkpoint_failure is not None:
        failed = state.checkpoint_failure
        return f"the checkpoint of round {failed.round} failed: {failed.reason}"
    return ""
