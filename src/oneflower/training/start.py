"""Where a training starts, and when it goes back to an earlier checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from numpy.typing import NDArray

from oneflower.errors import TrainingError

GONE_BACK: Final = "gone_back_from"
"""The round whose model the training has gone back from, in a checkpoint's notes."""

EVALUATED: Final = "evaluated"
"""The round whose checkpoint was made after its evaluation, in a checkpoint's notes: one made at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a training starts: after `round` (0: nothing was done yet), with its optimizer's arrays.

    `total_rounds` is the FL_NUM_ROUNDS under which the checkpoint was made, `notes` what was left for us.
    """

    round: int
    state: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    total_rounds: int = 0
    notes: Mapping[str, Any] = field(default_factory=dict)


class BadModelError(TrainingError):
    """Most of the clients failed on the model of ``round``, and the training can go back from it."""

    def __init__(self, server_round: int, reason: str) -> None:
        super().__init__(f"the clients cannot train from the model of round {server_round}: {reason}")
        self.round = server_round
        self.reason = reason
