"""Write a file so that under its name it is either complete and durable, or absent."""

import hashlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from oneflower.checkpoints.files import Files
from oneflower.checkpoints.manifest import FileRecord
from oneflower.checkpoints.names import temporary

# Small pieces are joined into one write; large ones are split so that hashing overlaps with writing.
_GATHER_BYTES: Final = 1 << 20
_CHUNK_BYTES: Final = 16 << 20


def write_temporary(files: Files, path: Path, pieces: Iterable[memoryview]) -> FileRecord:
    """Write and fsync the bytes under the temporary name of `path`; `path` itself is not touched.

    Returns the file's name, size and SHA-256. On any failure the temporary file is removed.
    """
    scratch = temporary(path)
    with _removed_on_failure(files, scratch):
        descriptor = files.create(scratch)
        try:
            size, sha256 = _write_hashed(files, descriptor, pieces)
        finally:
            files.close(descriptor)
    return FileRecord(name=path.name, size_bytes=size, sha256=sha256)


def append_durably(files: Files, path: Path, data: bytes) -> None:
    """Append bytes to a file and fsync it. A failure may leave a part of them."""
    descriptor = files.append(path)
    try:
        _write_all(files.write, descriptor, memoryview(data))
        files.fsync(descriptor)
    finally:
        files.close(descriptor)


def replace_file(files: Files, path: Path, data: bytes) -> None:
    """Replace `path` by a small file atomically. The folder is not synced."""
    write_temporary(files, path, [memoryview(data)])
    with _removed_on_failure(files, temporary(path)):
        files.rename(temporary(path), path)


def replace_link(files: Files, path: Path, target: str) -> None:
    """Point the symbolic link `path` at `target`, by a rename: the link exists at every moment."""
    scratch = temporary(path)
    with suppress(FileNotFoundError):
        files.unlink(scratch)  # left by an earlier failure; creating a link over it would fail
    with _removed_on_failure(files, scratch):
        files.symlink(target, scratch)
        files.rename(scratch, path)


@contextmanager
def _removed_on_failure(files: Files, scratch: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(OSError):
            files.unlink(scratch)
        raise


def _write_hashed(files: Files, descriptor: int, pieces: Iterable[memoryview]) -> tuple[int, str]:
    """Write, fsync and hash. Hashing runs in a separate thread: it takes about as long as the disk."""
    size = 0
    with _Hasher() as hasher:
        for block in _blocks(pieces):
            hasher.update(block)
            _write_all(files.write, descriptor, block)
            files.start_writeback(descriptor, size, len(block))
            size += len(block)
        files.fsync(descriptor)
    return size, hasher.hexdigest()


def _write_all(write: Callable[[int, memoryview], int], descriptor: int, block: memoryview) -> None:
    """Write every byte: one call may write fewer than it was given."""
    while block:
        block = block[write(descriptor, block) :]


def _blocks(pieces: Iterable[memoryview]) -> Iterable[memoryview]:
    """Join small pieces and split large ones; large data is passed on without a copy."""
    gathered = bytearray()
    for piece in pieces:
        if len(piece) < _GATHER_BYTES:
            gathered += piece
            if len(gathered) < _GATHER_BYTES:
                continue
        if gathered:
            yield memoryview(bytes(gathered))
            gathered.clear()
        if len(piece) >= _GATHER_BYTES:
            yield from (piece[start : start + _CHUNK_BYTES] for start in range(0, len(piece), _CHUNK_BYTES))
    if gathered:
        yield memoryview(bytes(gathered))


class _Hasher:
    """A SHA-256 in a thread; hashlib releases the interpreter lock, so it uses a second core."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._blocks: queue.SimpleQueue[memoryview | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._blocks.put(None)
            self._thread.join()

    def update(self, block: memoryview) -> None:
        """Hash the next block. A file of one small block is hashed without a thread."""
        if self._thread is None:
            if len(block) < _GATHER_BYTES:
                self._digest.update(block)
                return
            self._thread = threading.Thread(target=self._run, name="checkpoint-hash", daemon=True)
            self._thread.start()
        self._blocks.put(block)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()

    def _run(self) -> None:
        while (block := self._blocks.get()) is not None:
            self._digest.update(block)
