"""A folder of decoded arrays: private to its user, bounded, and never trusted unread.

One file per decoding function, source and settings; data that have changed take the place of the old ones.
Several processes may use it at once: a file is complete before it has its name, and one that is open stays
readable when another takes its name.
"""

import errno
import mmap
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from oneflower.sdk.decoded_file import arrays_in, blocks, can_hold, size_of

MOST_BYTES: Final = 8 << 30
MOST_FILES: Final = 64
LEFT_BYTES: Final = 1 << 30
"""So much of the disk stays free: checkpoints and logs may be on it, too."""
UNFINISHED_S: Final = 3600.0
"""A file that is so long unfinished was left by a process that was killed."""
_OTHERS: Final = 0o077
_SUFFIX: Final = ".arrays"
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    name: str
    size_bytes: int
    used_s: float


class DecodedStore:
    """The files in a folder. ``say`` gets the reason where something is not kept; nothing is raised."""

    def __init__(self, folder: Path, *, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say

    def load(self, name: str, key: str) -> dict[str, NDArray[Any]] | None:
        """Return the arrays under a name if they are of that key, in memory of the caller's own."""
        try:
            with self._opened() as folder:
                return self._load(folder, name + _SUFFIX, key)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._say(f"{self._folder} cannot be read: {error.strerror or error}")
            return None

    def save(self, name: str, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep arrays under a name, as far as they can be."""
        problem = can_hold(arrays)
        size_bytes = 0 if problem else size_of(key, arrays)
        if size_bytes > MOST_BYTES:
            problem = f"they have {size_bytes} bytes; at most {MOST_BYTES} are kept"
        if problem:
            self._say(problem)
            return
        try:
            with suppress(FileExistsError):
                self._folder.mkdir(mode=0o700, parents=True)
            with self._opened() as folder:
                self._make_room(folder, size_bytes, name + _SUFFIX)
                _write(folder, name + _SUFFIX, blocks(key, arrays))
        except OSError as error:
            self._say(f"{self._folder} cannot be written: {error.strerror or error}")

    def _load(self, folder: int, name: str, key: str) -> dict[str, NDArray[Any]] | None:
        try:
            descriptor = os.open(name, _READ, dir_fd=folder)
            try:
                view = _mapped(descriptor)
                arrays = arrays_in(view, key)
                with suppress(OSError):
                    os.utime(descriptor)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno != errno.ELOOP:
                raise
            reason = "it is a symbolic link" if isinstance(error, OSError) else str(error)
            self._say(f"{self._folder / name} was thrown away: {reason}")
            os.unlink(name, dir_fd=folder)
            return None
        return arrays

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """Open the folder; PermissionError unless it belongs to this user alone."""
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if found.st_uid != os.geteuid() or found.st_mode & _OTHERS:
                raise PermissionError(
                    errno.EPERM, "it belongs to another user or is open to others; remove it", self._folder
                )
            yield descriptor
        finally:
            os.close(descriptor)

    def _make_room(self, folder: int, size_bytes: int, name: str) -> None:
        """Delete what was used least lately, and what a killed process has left.

        Raises
        ------
        OSError
            There is too little room on the disk.
        """
        files = sorted(_files(folder), key=lambda each: each.used_s, reverse=True)
        room, kept = MOST_BYTES - size_bytes, 1
        for file in files:
            if file.name.startswith("."):
                if time.time() - file.used_s > UNFINISHED_S:
                    _unlink(folder, file.name)
                continue
            if file.name == name:
                continue
            room, kept = room - file.size_bytes, kept + 1
            if room < 0 or kept > MOST_FILES:
                _unlink(folder, file.name)
        disk = os.fstatvfs(folder)
        if disk.f_bavail * disk.f_frsize < size_bytes + LEFT_BYTES:
            raise OSError(
                errno.ENOSPC, f"the disk has less than {LEFT_BYTES} bytes beside the {size_bytes} to keep"
            )


def _mapped(descriptor: int) -> mmap.mmap:
    """Map a file for reading, and for writes that no other process sees; ValueError if it is not ours."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & _OTHERS:
        raise ValueError("it is no file of this user alone")
    if not 0 < found.st_size <= MOST_BYTES:
        raise ValueError(f"it has {found.st_size} bytes")
    return mmap.mmap(descriptor, found.st_size, access=mmap.ACCESS_COPY)


def _write(folder: int, name: str, content: Iterator[bytes | memoryview]) -> None:
    temporary = f".{name}.{os.getpid()}.{time.monotonic_ns()}"
    descriptor = os.open(temporary, _WRITE, 0o600, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for block in content:
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        _unlink(folder, temporary)
        raise
    with suppress(OSError):  # some file systems cannot
        os.fsync(folder)


def _files(folder: int) -> Iterator[_File]:
    for name in os.listdir(folder):
        with suppress(FileNotFoundError):  # another process has deleted it
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                yield _File(name=name, size_bytes=found.st_size, used_s=found.st_mtime)


def _unlink(folder: int, name: str) -> None:
    with suppress(OSError):
        os.unlink(name, dir_fd=folder)
