"""The one reading of a journal: its entries reduced to the state of a training."""

from oneflower.journal.state.gpus import ClientGpus
from oneflower.journal.state.outliers import FAR, Course, courses, farthest, outliers
from oneflower.journal.state.records import (
    STRIP_ROUNDS,
    Aggregated,
    Client,
    LeftOut,
    Measured,
    Moment,
    OwnLoop,
    RoundResult,
    SavedCheckpoint,
)
from oneflower.journal.state.supervision import interrupt
from oneflower.journal.state.training import Failure, TrainingState, interrupted, reduce

__all__ = [
    "FAR",
    "STRIP_ROUNDS",
    "Aggregated",
    "Client",
    "ClientGpus",
    "Course",
    "Failure",
    "LeftOut",
    "Measured",
    "Moment",
    "OwnLoop",
    "RoundResult",
    "SavedCheckpoint",
    "TrainingState",
    "courses",
    "farthest",
    "interrupt",
    "interrupted",
    "outliers",
    "reduce",
]
