"""Sign the checkpoints of a training, and remember on this machine which training that is."""

import os
from collections.abc import Mapping
from logging import WARNING
from pathlib import Path

from oneflower.checkpoints import MEMORY, CheckpointStore, Signer, remembered_training
from oneflower.files import write_json
from oneflower.flower.api import log
from oneflower.settings import checkpoint_key


def signer_of(journal: Path | None, environ: Mapping[str, str] = os.environ) -> Signer | None:
    """Return the signer of the training that this machine remembers, or of any; None without a key.

    The key is in the environment of the ServerApp, and in no run-config: that goes to the clients.
    """
    key = checkpoint_key(environ)
    return Signer(key=key, training=_remembered(journal)) if key else None


def signer_with(key: str, journal: Path) -> Signer | None:
    """Return the same for a key that the settings hold; None for an empty one."""
    return Signer(key=key, training=_remembered(journal)) if key else None


def begin(store: CheckpointStore, signer: Signer | None, journal: Path | None, resumed: int | None) -> None:
    """Sign as the training that is resumed after a round, or as a new one, and remember it."""
    if signer is None:
        if resumed is not None and store.training(resumed):
            log(WARNING, "the checkpoint is signed, which only FL_CHECKPOINT_KEY can check round=%d", resumed)
        return
    signer = signer.of_training("" if resumed is None else store.training(resumed))
    store.sign_as(signer)
    if journal is not None:
        write_json(journal.with_name(MEMORY), {"training": signer.training})


def _remembered(journal: Path | None) -> str:
    return remembered_training(journal.parent) if journal is not None else ""
