"""How many clients are in the model of each round, and how many it went on without."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from oneflower.codes import Phase
from oneflower.journal import TrainingState

VALID: Final = "valid"

Counts = Mapping[int, Mapping[str, int]]


def counts(state: TrainingState) -> dict[int, dict[str, int]]:
    """Return for every round how many clients are in its model, were quarantined, or failed."""
    found = {number: {VALID: result.valid} for number, result in state.rounds.items()}
    for number, absent in state.absent.items():
        # During its first attempt a round has no count yet: its bar would show the bad ones alone.
        if absent and (
            number != state.started_round or number in found or state.attempt > 1 or _is_over(state)
        ):
            found.setdefault(number, {VALID: 0}).update(Counter(absent.values()))
    return found


def _is_over(state: TrainingState) -> bool:
    return state.phase not in (Phase.TRAINING, Phase.EVALUATING)
