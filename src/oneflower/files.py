"""Read and write small files of the state folder; writes are atomic, errors say how to fix the cause."""

import errno
import fcntl
import json
import os
import resource
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from oneflower.bounded_json import SMALL, parse_json
from oneflower.errors import StateError

_FIRST_POLL_S: Final = 0.001
_LONGEST_POLL_S: Final = 0.02
PRIVATE_UMASK = 0o077
"""For the processes of a training: what they write is their user's alone, models and logs included."""
MOST_OPEN: Final = 65_536
HINTS = {
    errno.ENOSPC: "the disk is full: free some space, or pass another folder with --state. Nothing is lost",
    errno.EDQUOT: "the disk quota is used up: free some space, or pass another folder with --state",
    errno.EACCES: "permission denied: change its owner or mode, or pass another folder with --state",
    errno.EPERM: "permission denied: change its owner or mode, or pass another folder with --state",
    errno.EROFS: "the file system is read-only: pass another folder with --state",
    errno.ENOTDIR: "a part of the path is a file: pass another folder with --state",
    errno.ELOOP: "a symbolic link is in its place, which is not followed: remove it, or pass another folder "
    "with --state",
    errno.EEXIST: "a file of that name exists: pass another folder with --state",
}


def private_files() -> None:
    """Let whatever this process and its children create be readable for their user alone."""
    os.umask(PRIVATE_UMASK)


def make_private(path: Path, *, also: int = 0) -> None:
    """Take a file's or folder's permissions from all but its owner, and a folder's group that shares it.

    Not from what another user owns, and not through a link. A release before this one let others read the
    state of a training.
    """
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            mode, kept = stat.S_IMODE(found.st_mode), stat.S_IMODE(found.st_mode) & (0o700 | also)
            is_ours = found.st_uid == os.geteuid()
            if is_ours and (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)) and mode != kept:
                os.fchmod(descriptor, kept)
        finally:
            os.close(descriptor)


def readers_of(folder: Path) -> int:
    """Return the permission that a folder's group has for its files: its operator made it to be shared."""
    return stat.S_IRGRP if folder.stat().st_mode & stat.S_ISGID else 0


@contextmanager
def state_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a StateError that names the path and how to fix the cause."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        reason = HINTS.get(error.errno or 0, f"{error.strerror or error}: pass another folder with --state")
        raise StateError(f"cannot write {where}: {reason}") from error


def write_atomically(path: Path, text: str) -> None:
    """Replace a file by a complete new one; StateError if that fails."""
    with state_errors(path):
        replace_file(path, text.encode(), mode=0o666)


def replace_file(path: Path, content: bytes, *, mode: int, umask: bool = True) -> None:
    """Replace a file atomically: a crash leaves either the old or the new one.

    The umask applies to `mode` unless `umask` is False.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if not umask:
                os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write one JSON object atomically."""
    write_atomically(path, json.dumps(value, indent=2) + "\n")


def open_to_read(path: Path, *, follow: bool = True) -> BinaryIO:
    """Open a regular file for reading; OSError for anything else.

    A named pipe would block, and a device has no end. Unless `follow`, a symbolic link is refused, too.
    """
    links = 0 if follow else os.O_NOFOLLOW
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | links)
    try:
        require_file(descriptor)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def open_to_write(path: Path, flags: int, mode: int = 0o600) -> int:
    """Open or create a regular file with more flags, such as O_APPEND; return its descriptor.

    Never through a symbolic link, which leads to another file, and never waiting for a named pipe's reader:
    others may write the folder. OSError for anything but a file.
    """
    flags |= os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, mode)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nobody reads it
            raise OSError(errno.ENXIO, "it is a named pipe or a socket; expected a file", str(path)) from None
        raise
    try:
        require_file(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def lock_within(descriptor: int, patience_s: float) -> bool:
    """Lock a file for this process, and return whether that was possible in time: anybody may hold a lock."""
    deadline, pause_s = time.monotonic() + patience_s, _FIRST_POLL_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_POLL_S)
        else:
            return True


def is_locked(path: Path) -> bool | None:
    """Tell whether a process holds the lock of a file; None where that cannot be seen.

    A free lock is shared for a moment: whoever takes it has to wait that long (`lock_within`).
    """
    try:
        with open_to_read(path, follow=False) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def require_file(descriptor: int) -> None:
    """Raise OSError unless what is open is a regular file."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, "it is a folder; expected a file")
    if stat.S_ISFIFO(mode):
        raise OSError(errno.EINVAL, "it is a named pipe; expected a file")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a device; expected a file")


def read_bytes(path: Path, most_bytes: int, *, follow: bool = True) -> bytes:
    """Read a regular file of at most `most_bytes`; OSError for a larger one, before it is read."""
    with open_to_read(path, follow=follow) as file:
        if os.fstat(file.fileno()).st_size > most_bytes:
            raise OSError(errno.EFBIG, f"it has more than {most_bytes} bytes")
        return file.read(most_bytes)


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object; empty if the file is missing, unreadable or damaged."""
    try:
        value = parse_json(read_bytes(path, SMALL.most_bytes))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def probe(folder: Path) -> None:
    """Create a folder and test that a file can be written in it.

    Raises
    ------
    StateError
        No permission, a file in the way, a read-only or a full disk.
    """
    with state_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # A new file under a name that nobody can know: others may have put a link in the way of any other.
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe.") as trial:
            # A full disk may accept an empty file, but not its first block.
            trial.write(bytes(4096))
            trial.flush()


def most_open_files() -> int:
    """Return how many files, sockets included, this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_OPEN if soft == resource.RLIM_INFINITY else soft


def allow_open_files(most: int = MOST_OPEN) -> None:
    """Let this process and those that it starts have more files open, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
