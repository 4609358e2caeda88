"""Commit one round: write, sync and read back every file first, then rename in a fixed order.

Lack of space, quota or permission shows before the first rename. From there a crash leaves either the
previous round or the complete new one as the newest.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oneflower.checkpoints.entry import Entry
from oneflower.checkpoints.files import Files
from oneflower.checkpoints.folder import set_aside
from oneflower.checkpoints.manifest import DamagedError, FileRecord, Manifest, describe, render, sign
from oneflower.checkpoints.model import Checkpoint
from oneflower.checkpoints.names import HISTORY, manifest_name, model_name, round_files, state_name, temporary
from oneflower.checkpoints.npz import npz_pieces
from oneflower.checkpoints.read_back import check_line, check_manifest, check_schema
from oneflower.checkpoints.reading import history_size, read_manifest, verify_files
from oneflower.checkpoints.signing import Signer
from oneflower.checkpoints.writing import append_durably, write_temporary
from oneflower.errors import ForeignError
from oneflower.quality import Best

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """The records of a commit's data files, the model first.

    `fresh` is False if the same content had been committed for this round before.
    """

    records: list[FileRecord]
    fresh: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Existing:
    """What is committed for the round already: the same content, or files to set aside, and why."""

    same_content: bool
    reason: str = ""
    detail: str = ""


def commit(  # noqa: PLR0913 - the checkpoint, and the other fields of its manifest
    files: Files,
    root: Path,
    checkpoint: Checkpoint,
    *,
    entry: Entry,
    best: Best | None,
    best_metric: str,
    time: str,
    signer: Signer | None = None,
) -> Commit:
    """Commit a checkpoint.

    A committed round is never overwritten: the same content is accepted as it is; for other content the
    earlier files are set aside first. After a failure everything written is removed again, lines of the
    history that no manifest names, too.
    """
    number = checkpoint.round
    renamed: list[Path] = []
    appended = None
    try:
        records = _write_data(files, root, checkpoint)
        existing = _existing(files, root, checkpoint, records, signer)
        if existing is not None and existing.same_content:
            _remove_temporaries(files, root, number)
            files.sync_folder(root)
            return Commit(records=records, fresh=False)
        record_history(files, root, entry)
        appended = entry
        content = describe(
            checkpoint,
            model=records[0],
            state=records[1] if len(records) > 1 else None,
            best=best,
            best_metric=best_metric,
            history=entry.position,
            time=time,
        )
        write_temporary(files, root / manifest_name(number), [memoryview(render(sign(content, signer)))])
        check_manifest(files, root, number, records, signer)
        if existing is not None:
            ending = set_aside(files, root, number, existing.reason)
            log.warning(
                "checkpoint set aside round=%d folder=%s as=*.%s reason=%s",
                number,
                root,
                ending,
                existing.detail,
            )
        for record in records:
            renamed.append(root / record.name)
            files.rename(temporary(renamed[-1]), renamed[-1])
        files.sync_folder(root)
        appended = None  # on NFS a rename may report an error after it has succeeded
        files.rename(temporary(root / manifest_name(number)), root / manifest_name(number))
        files.sync_folder(root)
    except BaseException:
        if appended is not None:
            _take_back(files, root, appended)
        _undo(files, root, number, renamed)
        raise
    return Commit(records=records, fresh=True)


def record_history(files: Files, root: Path, entry: Entry) -> None:
    """Append lines to the history durably and read them back; what fails is cut off again."""
    if not entry.lines:
        return
    try:
        append_durably(files, root / HISTORY, entry.data)
        for line in entry.lines:
            check_line(files, root, line)
    except BaseException:
        _take_back(files, root, entry)
        raise


def _take_back(files: Files, root: Path, entry: Entry) -> None:
    """Cut off what was appended for a commit that failed: every try would append as much again.

    Never more than that, should another program have written the file since.
    """
    with suppress(OSError):
        if entry.lines and entry.begin < history_size(files, root) <= entry.begin + len(entry.data):
            files.truncate(root / HISTORY, entry.begin)


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


def _existing(
    files: Files, root: Path, checkpoint: Checkpoint, records: list[FileRecord], signer: Signer | None
) -> _Existing | None:
    """Return what is committed for the round already; None if nothing is."""
    number = checkpoint.round
    if not _exists(files, root / manifest_name(number)):
        return None
    try:
        manifest = read_manifest(files, root, number, signer)
        verify_files(files, root, manifest)
        if list(manifest.files) == records and _same_training(manifest, checkpoint):
            return _Existing(same_content=True)
    except ForeignError as foreign:
        return _Existing(same_content=False, reason="foreign", detail=str(foreign))
    except DamagedError as damage:
        return _Existing(same_content=False, reason="damaged", detail=str(damage))
    return _Existing(same_content=False, reason="superseded", detail="other content was saved for the round")


def _exists(files: Files, path: Path) -> bool:
    """Return whether a file exists, without listing a folder of possibly thousands of files."""
    try:
        files.open(path).close()
    except FileNotFoundError:
        return False
    return True


def _same_training(manifest: Manifest, checkpoint: Checkpoint) -> bool:
    expected: dict[str, Any] = {
        "strategy": checkpoint.strategy,
        "parameters": dict(checkpoint.parameters),
        "app": checkpoint.app,
        "seed": checkpoint.seed,
    }
    return all(manifest.content[key] == value for key, value in expected.items())


def _undo(files: Files, root: Path, number: int, renamed: list[Path]) -> None:
    """Remove the files of a failed commit as far as the system allows; never touch a committed round.

    The folder shows whether it is committed: on NFS a rename may report an error after it has succeeded.
    """
    with suppress(OSError):
        if manifest_name(number) not in files.names(root):
            for path in renamed:
                _quietly(files.unlink, path)
    _remove_temporaries(files, root, number)


def _remove_temporaries(files: Files, root: Path, number: int) -> None:
    for name in round_files(number):
        _quietly(files.unlink, temporary(root / name))


def _quietly(unlink: Callable[[Path], None], path: Path) -> None:
    with suppress(OSError):
        unlink(path)
