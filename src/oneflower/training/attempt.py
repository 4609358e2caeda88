"""One attempt of a round: what came of it, and what to do where it failed."""

from dataclasses import dataclass

from oneflower.codes import RoundFailure
from oneflower.settings import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One try of a round: why it failed, or None, and its valid updates beside how many were needed.

    Where too few clients were connected, ``needed`` is how many must be. ``silent`` counts those that were
    at work still when the time was over, ``shared`` is the exception that all clients have raised.
    ``blames_model``: more than half of the clients could not train from the model that they were sent.
    """

    reason: str | None
    valid: int
    needed: int
    code: RoundFailure | None = None
    silent: int = 0
    shared: str | None = None
    blames_model: bool = False

    def advice(self, config: TrainingConfig) -> str:
        """Return what an operator can do about the failure."""
        if self.code is RoundFailure.NO_MODEL:
            return "Find the client that sends such an update and stop it"
        if self.silent:
            return (
                f"{self.silent} clients were connected and at work still when FL_ROUND_TIMEOUT (now "
                f"{config.round_timeout} s) was over: raise it above what a client takes"
            )
        return (
            "Mend the clients that the log names as failed or quarantined, or lower FL_MIN_FIT_CLIENTS (now "
            f"{config.min_fit_clients})"
        )
