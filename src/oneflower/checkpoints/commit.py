"""The commit of one round: everything durable under temporary names first, then renames in a fixed order.

Written so that whatever may run out (space, quota, permission) runs out before the first rename; from
there a crash leaves either the round before or the whole new one.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from oneflower.checkpoints.files import Files
from oneflower.checkpoints.folder import committed_rounds, set_aside
from oneflower.checkpoints.manifest import DamagedError, FileRecord, Manifest, describe, render
from oneflower.checkpoints.model import Checkpoint
from oneflower.checkpoints.names import manifest_name, model_name, round_files, state_name, temporary
from oneflower.checkpoints.npz import npz_pieces
from oneflower.checkpoints.reading import read_manifest, verify_files
from oneflower.checkpoints.retention import Best
from oneflower.checkpoints.writing import write_temporary

log = logging.getLogger(__name__)


def commit(
    files: Files, root: Path, checkpoint: Checkpoint, *, best: Best | None, time: str
) -> list[FileRecord]:
    """Commit a checkpoint and return the records of its data files, the model's first.

    A round that is committed already is never overwritten: the same content is accepted as it lies, other
    content sets the earlier files aside first. On a failure what was written is removed again.
    """
    number = checkpoint.round
    named: list[Path] = []
    try:
        records = _write_temporaries(files, root, checkpoint, best, time)
        if _committed_alike(files, root, checkpoint, records):
            _remove_temporaries(files, root, number)
        else:
            for record in records:
                named.append(root / record.name)
                files.rename(temporary(named[-1]), named[-1])
            files.sync_folder(root)
            files.rename(temporary(root / manifest_name(number)), root / manifest_name(number))
        files.sync_folder(root)
    except BaseException:
        _withdraw(files, root, number, named)
        raise
    return records


def _write_temporaries(
    files: Files, root: Path, checkpoint: Checkpoint, best: Best | None, time: str
) -> list[FileRecord]:
    number = checkpoint.round
    model = write_temporary(files, root / model_name(number), npz_pieces(checkpoint.arrays))
    state = None
    if checkpoint.state:
        state = write_temporary(files, root / state_name(number), npz_pieces(checkpoint.state))
    content = describe(checkpoint, model=model, state=state, best=best, time=time)
    write_temporary(files, root / manifest_name(number), [memoryview(render(content))])
    return [model] if state is None else [model, state]


def _committed_alike(files: Files, root: Path, checkpoint: Checkpoint, records: list[FileRecord]) -> bool:
    """Tell whether the round is committed with this very content; anything else there is set aside."""
    number = checkpoint.round
    if number not in committed_rounds(files, root):
        return False
    reason, why = "superseded", "other content was saved for the round"
    try:
        manifest = read_manifest(files, root, number)
        verify_files(files, root, manifest)
        if list(manifest.files) == records and _same_training(manifest, checkpoint):
            return True
    except DamagedError as damage:
        reason, why = "damaged", str(damage)
    ending = set_aside(files, root, number, reason)
    log.warning("checkpoint set aside round=%d folder=%s as=*.%s reason=%s", number, root, ending, why)
    return False


def _same_training(manifest: Manifest, checkpoint: Checkpoint) -> bool:
    here: dict[str, Any] = {
        "strategy": checkpoint.strategy,
        "parameters": dict(checkpoint.parameters),
        "app": checkpoint.app,
        "seed": checkpoint.seed,
    }
    return all(manifest.content[key] == value for key, value in here.items())


def _withdraw(files: Files, root: Path, number: int, named: list[Path]) -> None:
    """Remove what a failed commit left, as far as the system allows; a committed round is not touched.

    Whether it is committed is asked of the folder: on NFS a rename may report an error and have happened.
    """
    with suppress(OSError):
        if manifest_name(number) not in files.names(root):
            for path in named:
                _quietly(files.unlink, path)
    _remove_temporaries(files, root, number)


def _remove_temporaries(files: Files, root: Path, number: int) -> None:
    for name in round_files(number):
        _quietly(files.unlink, temporary(root / name))


def _quietly(unlink: Callable[[Path], None], path: Path) -> None:
    with suppress(OSError):
        unlink(path)
