"""The one narrow seam between the checkpoint store and the operating system.

Every operation that changes the disk, and every read that a checkpoint depends on, goes through `Files`,
so that the tests can fail, cut or record each single one.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from oneflower.files import open_to_read, require_no_pipe


class Files(Protocol):
    """What the store asks of a file system. Each call may raise OSError; `write` may be short."""

    def make_folder(self, path: Path) -> None:
        """Make one folder in an existing one."""
        ...

    def names(self, folder: Path) -> list[str]:
        """Return the names in the folder, in any order."""
        ...

    def create(self, path: Path) -> int:
        """Create or truncate the file; return its descriptor, open for writing."""
        ...

    def append(self, path: Path) -> int:
        """Return a descriptor that writes at the end of the file, which is created if it is not there."""
        ...

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write some of the bytes and return how many."""
        ...

    def start_writeback(self, descriptor: int, offset: int, length: int) -> None:
        """Let the disk begin with these bytes now: a hint that makes the later fsync short."""
        ...

    def fsync(self, descriptor: int) -> None:
        """Make the file's bytes durable."""
        ...

    def close(self, descriptor: int) -> None:
        """Close the descriptor."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Rename atomically, replacing what bears the new name."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove a name."""
        ...

    def symlink(self, target: str, path: Path) -> None:
        """Make a symbolic link; the name must not exist."""
        ...

    def read_link(self, path: Path) -> str:
        """Return a symbolic link's target."""
        ...

    def sync_folder(self, path: Path) -> None:
        """Make the folder's names durable: without it a crash may undo a rename."""
        ...

    def open(self, path: Path) -> BinaryIO:
        """Open an existing file for reading."""
        ...

    def free_bytes(self, folder: Path) -> int:
        """Return the bytes that may still be written to the folder's disk."""
        ...


class OsFiles:
    """`Files` by system calls."""

    def make_folder(self, path: Path) -> None:
        """Make one folder."""
        path.mkdir()

    def names(self, folder: Path) -> list[str]:
        """Return the names in the folder."""
        return [path.name for path in folder.iterdir()]

    def create(self, path: Path) -> int:
        """Create or empty a file for writing."""
        return _to_write(path, os.O_TRUNC)

    def append(self, path: Path) -> int:
        """Open or create a file for writing at its end."""
        return _to_write(path, os.O_APPEND)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write some bytes."""
        return os.write(descriptor, data)

    def start_writeback(self, descriptor: int, offset: int, length: int) -> None:
        """Start writing: Linux does so for dirty bytes that are said to be of no further use in memory."""
        with suppress(OSError):
            os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_DONTNEED)

    def fsync(self, descriptor: int) -> None:
        """Make the bytes durable."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close the descriptor."""
        os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Rename atomically."""
        old.rename(new)

    def unlink(self, path: Path) -> None:
        """Remove a name."""
        path.unlink()

    def symlink(self, target: str, path: Path) -> None:
        """Make a symbolic link."""
        path.symlink_to(target)

    def read_link(self, path: Path) -> str:
        """Return a symbolic link's target."""
        return str(path.readlink())

    def sync_folder(self, path: Path) -> None:
        """Make the folder's names durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def open(self, path: Path) -> BinaryIO:
        """Open for reading, unbuffered readers welcome."""
        return open_to_read(path)

    def free_bytes(self, folder: Path) -> int:
        """Return the bytes free to this process."""
        status = os.statvfs(folder)
        return status.f_bavail * status.f_frsize


def _to_write(path: Path, how: int) -> int:
    """Open or create a file; a named pipe is an error at once, whether somebody reads it or not."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | how, 0o644)
    try:
        require_no_pipe(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
