"""Read the files of a checkpoint and verify every byte against its digests."""

import errno
import hashlib
import io
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from numpy.typing import NDArray

from oneflower.checkpoints.files import LARGEST_MANIFEST, Files
from oneflower.checkpoints.history import EMPTY, LARGEST, History, Reading, merged, stream_history
from oneflower.checkpoints.manifest import DamagedError, FileRecord, Manifest, parse
from oneflower.checkpoints.model import Checkpoint, Metrics, ModelSchema
from oneflower.checkpoints.names import HISTORY, manifest_name
from oneflower.checkpoints.npz_reading import UNREADABLE, read_npz
from oneflower.checkpoints.signing import Signer
from oneflower.errors import StateError

log = logging.getLogger(__name__)

_CHUNK_BYTES: Final = 4 << 20


def read_manifest(files: Files, folder: Path, number: int, signer: Signer | None = None) -> Manifest:
    """Read and check the manifest of a round, and its signature where there is a signer.

    Raises
    ------
    DamagedError
        It is missing, unreadable or not as committed.
    CheckpointError
        It is of another schema, or not signed.
    OSError
        It cannot be reached now (no permission, for example), which does not mean damage.
    """
    name = manifest_name(number)
    with _open(files, folder / name) as file:
        data = _read_bounded(file, name, LARGEST_MANIFEST)
    return parse(data, number, signer, folder)


def verify_files(files: Files, folder: Path, manifest: Manifest) -> None:
    """Hash every data file of a checkpoint; DamagedError names a file that is not as committed."""
    for record in manifest.files:
        with _open(files, folder / record.name) as file:
            _check(file, record)


def read_history(files: Files, folder: Path) -> History:
    """Read the metrics of the folder's training; empty if there is no file.

    Raises DamagedError if the disk cannot read the file or it is beyond its bounds, OSError if it cannot be
    reached now.
    """
    try:
        file = files.open(folder / HISTORY)
    except FileNotFoundError:
        return EMPTY
    except OSError as error:
        _raise_if_lost(error, HISTORY)
        raise
    with file:
        _require_at_most(file, HISTORY, LARGEST)
        try:
            return stream_history(file)
        except ValueError as error:
            raise DamagedError(f"{HISTORY} is larger than a history: {error}") from error
        except OSError as error:
            _raise_if_lost(error, HISTORY)
            raise


def history_or_empty(files: Files, folder: Path) -> History:
    """Read the history; return an empty one if the disk cannot read it."""
    try:
        return read_history(files, folder)
    except DamagedError as error:
        return replace(EMPTY, unread=str(error))


def tell_left_out(history: History, folder: Path) -> None:
    """Log that the oldest lists of metrics are not read."""
    if history.lists_left_out:
        log.warning(
            "old lists of metrics left out folder=%s values=%d reason=there are more than are kept",
            folder,
            history.lists_left_out,
        )


def history_size(files: Files, folder: Path) -> int:
    """Return the size of the history in bytes; -1 where it cannot be told."""
    try:
        with files.open(folder / HISTORY) as file:
            return file.seek(0, os.SEEK_END)
    except OSError:
        return -1


def read_metrics(manifest: Manifest, history: History, *, signed: bool = False) -> Reading:
    """Return the metrics up to a round, with those of its client evaluation if they were recorded.

    If the history is damaged, they are those of its valid lines and of the manifest itself. With `signed`
    only what the manifest vouches for: a line after it may be anybody's.
    """
    if manifest.history is None:
        return Reading(metrics=merged([manifest.metrics]), problem=None)
    read = history.until(manifest.history)
    _, later = (None, []) if signed else history.recorded_after(manifest.history, manifest.round)
    # Where the manifest lacks lists that are too long for it, the history has them.
    own = {
        phase: {
            number: {**read.metrics.get(phase, {}).get(number, {}), **named}
            for number, named in rounds.items()
        }
        for phase, rounds in manifest.metrics.items()
    }
    return Reading(metrics=merged([read.metrics, own, *later]), problem=read.problem)


def read_checkpoint(files: Files, folder: Path, manifest: Manifest, metrics: Metrics) -> Checkpoint:
    """Read a round's arrays; each file is verified before it is parsed. DamagedError says what is wrong."""
    arrays = _read_arrays(files, folder, manifest.model, manifest.schema)
    state = {}
    if manifest.state is not None:
        state = _read_arrays(files, folder, manifest.state, manifest.state_schema)
    content = manifest.content
    return Checkpoint(
        round=manifest.round,
        total_rounds=content["total_rounds"],
        arrays=arrays,
        state=state,
        strategy=content["strategy"],
        parameters=content["parameters"],
        app=content["app"],
        seed=content["seed"],
        metrics=metrics,
        versions=content["versions"],
        notes=content.get("notes", {}),
    )


def _read_arrays(
    files: Files, folder: Path, record: FileRecord, schema: ModelSchema
) -> dict[str, NDArray[Any]]:
    """Return the arrays in the order of the manifest, which is the model's own.

    The file is read once and parsed from memory: a disk that fails between verifying and a second read
    would look like damage.
    """
    try:
        with _open(files, folder / record.name) as file:
            _require_size(file, record)
            data = _read(file, record.name)
        _compare(record, len(data), hashlib.sha256(data).hexdigest())
        arrays = read_npz(io.BytesIO(data), schema.arrays)
    except UNREADABLE as error:
        raise DamagedError(f"{record.name} does not hold the manifest's arrays: {error}") from error
    except MemoryError as error:  # the file is as large as it says, so it may well be good
        raise StateError(
            f"reading {folder / record.name} takes {record.size_bytes} bytes of memory, which are not free. "
            "Free memory, or use a larger machine; nothing is lost."
        ) from error
    return {name: arrays[name] for name in schema.arrays}


def _check(file: BinaryIO, record: FileRecord) -> None:
    _require_size(file, record)
    digest, size = hashlib.sha256(), 0
    while chunk := _read(file, record.name, _CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
    _compare(record, size, digest.hexdigest())


def _compare(record: FileRecord, size_bytes: int, sha256: str) -> None:
    _compare_size(record, size_bytes)
    if sha256 != record.sha256:
        raise DamagedError(f"{record.name} has SHA-256 {sha256}, committed was {record.sha256}")


def _compare_size(record: FileRecord, size_bytes: int) -> None:
    if size_bytes != record.size_bytes:
        raise DamagedError(f"{record.name} has {size_bytes} bytes, committed were {record.size_bytes}")


def _require_size(file: BinaryIO, record: FileRecord) -> None:
    """Raise DamagedError, before anything is read, unless the file is as large as it was committed."""
    _compare_size(record, _size(file, record.name))


def _read_bounded(file: BinaryIO, name: str, most: int) -> bytes:
    _require_at_most(file, name, most)
    return _read(file, name)


def _require_at_most(file: BinaryIO, name: str, most: int) -> None:
    if (size := _size(file, name)) > most:
        raise DamagedError(f"{name} has {size} bytes; no such file has more than {most}")


def _size(file: BinaryIO, name: str) -> int:
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
    except OSError as error:
        _raise_if_lost(error, name)
        raise
    return size


def _open(files: Files, path: Path) -> BinaryIO:
    try:
        return files.open(path)
    except OSError as error:
        _raise_if_lost(error, path.name)
        raise


def _read(file: BinaryIO, name: str, size: int = -1) -> bytes:
    try:
        return file.read(size)
    except OSError as error:
        _raise_if_lost(error, name)
        raise


def _raise_if_lost(error: OSError, name: str) -> None:
    """Raise DamagedError for lost bytes, not for a file that cannot be reached now and may be intact."""
    if error.errno == errno.ENOENT:
        raise DamagedError(f"{name} is missing") from error
    if error.errno == errno.ELOOP:
        raise DamagedError(f"{name} is a symbolic link, which is not followed") from error
    if error.errno in (errno.EISDIR, errno.EINVAL, errno.ENXIO):  # a folder, a pipe, a device, a socket
        raise DamagedError(f"{name} is not a file") from error
    if error.errno == errno.EIO:
        raise DamagedError(f"{name} cannot be read: {error.strerror}") from error
