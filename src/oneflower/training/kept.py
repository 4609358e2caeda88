"""The final model as the store has proven it."""

from dataclasses import dataclass
from logging import ERROR
from pathlib import Path

from oneflower.checkpoints import CheckpointStore
from oneflower.errors import OneflowerError
from oneflower.flower.api import log
from oneflower.journal.events import TrainingSaving
from oneflower.settings import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The model of the last round: whatever is told of it comes from here.

    `path` is None where nothing is kept: then the digest is that of the model in memory.
    """

    round: int
    path: Path | None
    sha256: str


def prove(store: CheckpointStore, server_round: int, digest: str) -> Kept | str:
    """Read a committed round back; return what was proven, or why it does not count."""
    try:
        manifest = store.verify(server_round)
    except (OneflowerError, OSError) as error:
        return str(error)
    if manifest.model.sha256 != digest:
        return f"the checkpoint of round {server_round} holds another model than the one trained here."
    path = store.root / manifest.model.name
    return Kept(round=manifest.round, path=path, sha256=manifest.model.sha256)


def tell_saving(server_round: int, attempt: int, config: TrainingConfig, problem: str) -> TrainingSaving:
    """Log that the last round is not saved yet, and return the event that says so."""
    log(
        ERROR,
        "the last round is not saved, tried again round=%d attempt=%d reason=%s",
        server_round,
        attempt,
        problem,
    )
    return TrainingSaving(
        round=server_round,
        rounds=config.num_rounds,
        attempt=attempt,
        tries=config.round_retries,
        reason=problem,
    )
