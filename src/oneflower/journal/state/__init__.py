"""The one reading of a journal: its entries reduced to the state of a training."""

from oneflower.journal.state.records import (
    STRIP_ROUNDS,
    Aggregated,
    Client,
    LeftOut,
    Moment,
    OwnLoop,
    RoundResult,
    SavedCheckpoint,
)
from oneflower.journal.state.supervision import interrupt
from oneflower.journal.state.training import Failure, TrainingState, interrupted, reduce

__all__ = [
    "STRIP_ROUNDS",
    "Aggregated",
    "Client",
    "Failure",
    "LeftOut",
    "Moment",
    "OwnLoop",
    "RoundResult",
    "SavedCheckpoint",
    "TrainingState",
    "interrupt",
    "interrupted",
    "reduce",
]
