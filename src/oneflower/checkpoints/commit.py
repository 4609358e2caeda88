"""The commit of one round: everything durable and read back first, then renames in a fixed order.

Written so that whatever may run out (space, quota, permission) runs out before the first rename; from
there a crash leaves either the round before or the whole new one.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oneflower.checkpoints.files import Files
from oneflower.checkpoints.folder import set_aside
from oneflower.checkpoints.ledger import Entry
from oneflower.checkpoints.manifest import DamagedError, FileRecord, Manifest, describe, render
from oneflower.checkpoints.model import Checkpoint
from oneflower.checkpoints.names import HISTORY, manifest_name, model_name, round_files, state_name, temporary
from oneflower.checkpoints.npz import npz_pieces
from oneflower.checkpoints.proof import check_line, check_manifest, check_schema
from oneflower.checkpoints.reading import read_manifest, verify_files
from oneflower.checkpoints.writing import append_durably, write_temporary
from oneflower.quality import Best

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """The records of a commit's data files, the model's first. `fresh`: it was not committed alike before."""

    records: list[FileRecord]
    fresh: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Earlier:
    """What is committed for the round already: this very content, or what is set aside, and why."""

    alike: bool
    reason: str = ""
    why: str = ""


def commit(  # noqa: PLR0913 - what is committed, and what its manifest says besides
    files: Files,
    root: Path,
    checkpoint: Checkpoint,
    *,
    entry: Entry,
    best: Best | None,
    best_metric: str,
    time: str,
) -> Commit:
    """Commit a checkpoint.

    A round that is committed already is never overwritten: the same content is accepted as it lies, other
    content sets the earlier files aside first. On a failure what was written is removed again, but for a
    line of the history that no manifest names.
    """
    number = checkpoint.round
    named: list[Path] = []
    try:
        records = _write_data(files, root, checkpoint)
        earlier = _earlier(files, root, checkpoint, records)
        if earlier is not None and earlier.alike:
            _remove_temporaries(files, root, number)
            files.sync_folder(root)
            return Commit(records=records, fresh=False)
        record_history(files, root, entry)
        content = describe(
            checkpoint,
            model=records[0],
            state=records[1] if len(records) > 1 else None,
            best=best,
            best_metric=best_metric,
            history=entry.position,
            time=time,
        )
        write_temporary(files, root / manifest_name(number), [memoryview(render(content))])
        check_manifest(files, root, number, records)
        if earlier is not None:
            ending = set_aside(files, root, number, earlier.reason)
            log.warning(
                "checkpoint set aside round=%d folder=%s as=*.%s reason=%s", number, root, ending, earlier.why
            )
        for record in records:
            named.append(root / record.name)
            files.rename(temporary(named[-1]), named[-1])
        files.sync_folder(root)
        files.rename(temporary(root / manifest_name(number)), root / manifest_name(number))
        files.sync_folder(root)
    except BaseException:
        _withdraw(files, root, number, named)
        raise
    return Commit(records=records, fresh=True)


def record_history(files: Files, root: Path, entry: Entry) -> None:
    """Write a line of the history, durably, and read it back; an empty one is none."""
    if entry.line:
        append_durably(files, root / HISTORY, entry.repair + entry.line)
        check_line(files, root, entry)


def _write_data(files: Files, root: Path, checkpoint: Checkpoint) -> list[FileRecord]:
    number = checkpoint.round
    groups = [(model_name(number), checkpoint.arrays)]
    if checkpoint.state:
        groups.append((state_name(number), checkpoint.state))
    records = []
    for name, arrays in groups:
        records.append(write_temporary(files, root / name, npz_pieces(arrays)))
        check_schema(files, root, name, arrays)
    return records


def _earlier(files: Files, root: Path, checkpoint: Checkpoint, records: list[FileRecord]) -> _Earlier | None:
    """Return what is committed for the round already, None where nothing is."""
    number = checkpoint.round
    if not _exists(files, root / manifest_name(number)):
        return None
    try:
        manifest = read_manifest(files, root, number)
        verify_files(files, root, manifest)
        if list(manifest.files) == records and _same_training(manifest, checkpoint):
            return _Earlier(alike=True)
    except DamagedError as damage:
        return _Earlier(alike=False, reason="damaged", why=str(damage))
    return _Earlier(alike=False, reason="superseded", why="other content was saved for the round")


def _exists(files: Files, path: Path) -> bool:
    """Tell whether a file is there, without listing a folder that may hold thousands."""
    try:
        files.open(path).close()
    except FileNotFoundError:
        return False
    return True


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
