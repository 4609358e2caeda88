"""The interface between the checkpoint store and the operating system, and the texts of its errors.

Every operation that changes the disk, and every read that a checkpoint depends on, goes through `Files`,
so that tests can make any one of them fail, cut it short or record it.
"""

import errno
import os
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from oneflower.errors import StateError
from oneflower.files import open_to_read, open_to_write, readers_of

LARGEST_MANIFEST: Final = 32 << 20
"""In bytes. Manifests of schema 1 hold all metrics so far, and those of schema 2 a row for each array."""


MOST_NAMES: Final = 1_000_000
"""In one folder; 100,000 rounds that are all kept take 300,000."""


class Files(Protocol):
    """The file operations that the store uses. Each may raise OSError; `write` may write fewer bytes."""

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
        """Open the file for appending, creating it if needed; return its descriptor."""
        ...

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write some of the bytes and return how many."""
        ...

    def truncate(self, path: Path, size: int) -> None:
        """Cut off what is behind `size` bytes."""
        ...

    def start_writeback(self, descriptor: int, offset: int, length: int) -> None:
        """Start writing these bytes to the disk now: a hint that shortens the later fsync."""
        ...

    def fsync(self, descriptor: int) -> None:
        """Make the file's bytes durable."""
        ...

    def close(self, descriptor: int) -> None:
        """Close the descriptor."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Rename atomically, replacing a file that already has the new name."""
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
        """Make the folder's entries durable: without it a crash may undo a rename."""
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
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, MOST_NAMES + 1)]
        if len(names) > MOST_NAMES:
            raise OSError(errno.EFBIG, f"there are more than {MOST_NAMES} files")
        return names

    def create(self, path: Path) -> int:
        """Create or truncate a file for writing."""
        return _for_its_readers(open_to_write(path, os.O_WRONLY | os.O_TRUNC), path)

    def append(self, path: Path) -> int:
        """Open or create a file for appending."""
        return _for_its_readers(open_to_write(path, os.O_WRONLY | os.O_APPEND), path)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write some bytes."""
        return os.write(descriptor, data)

    def truncate(self, path: Path, size: int) -> None:
        """Cut off what is behind `size` bytes."""
        descriptor = open_to_write(path, os.O_WRONLY)
        try:
            os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)

    def start_writeback(self, descriptor: int, offset: int, length: int) -> None:
        """Start writing: Linux does so for dirty bytes that are declared unneeded in memory."""
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
        """Make the folder's entries durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def open(self, path: Path) -> BinaryIO:
        """Open for reading; never through a link, which may lead out of the folder."""
        return open_to_read(path, follow=False)

    def free_bytes(self, folder: Path) -> int:
        """Return the bytes free to this process."""
        status = os.statvfs(folder)
        return status.f_bavail * status.f_frsize


def _for_its_readers(descriptor: int, path: Path) -> int:
    """Let the group of a folder with the setgid bit read a file."""
    if readers := readers_of(path.parent):
        os.fchmod(descriptor, 0o600 | readers)
    return descriptor


_HINTS: Final = {
    errno.ENOSPC: "The disk is full: free space on it, enlarge it, or lower FL_CHECKPOINT_KEEP.",
    errno.EDQUOT: "The disk quota is used up: raise it, free space, or lower FL_CHECKPOINT_KEEP.",
    errno.EROFS: "The disk is mounted read-only: mount it writable, or choose another path.",
    errno.ENOENT: "The folder does not exist: create it or mount its disk, or choose another path.",
    errno.ENOTDIR: "A part of the path is a file, not a folder: choose another path.",
    errno.EFBIG: "Remove what is not a checkpoint, or choose another path.",
    errno.EIO: "The disk reports an error: check it (dmesg, smartctl) and its cable or network.",
}
_DENIED: Final = (errno.EACCES, errno.EPERM)


def hint(error: OSError) -> str:
    """Return how to fix the cause of a failed file operation."""
    if error.errno in _DENIED:
        return f"Let user {os.geteuid()} write the folder (chown, chmod), or choose another path."
    return _HINTS.get(error.errno or 0, "Check the folder and its disk.")


def state_error(error: OSError, doing: str, folder: Path) -> StateError:
    """Return the StateError for a failed operation on the checkpoint folder."""
    return StateError(f"{doing} in {folder} failed: {error.strerror or error}. {hint(error)}")
