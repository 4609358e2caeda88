"""One writer per checkpoint folder: an advisory lock that the kernel releases when its holder dies."""

import fcntl
import os
import socket
import time
import weakref
from pathlib import Path
from typing import Final

from oneflower.checkpoints.names import LOCK
from oneflower.errors import FolderLockedError
from oneflower.files import open_to_read, open_to_write
from oneflower.foreign_text import printable

_POLL_S: Final = 0.1
_MOST_HOLDER: Final = 200
_HELD: Final[weakref.WeakSet["FolderLock"]] = weakref.WeakSet()


class FolderLock:
    """The lock on one folder. Taken by `acquire`, released by `release` or at the end of the process."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self._descriptor: int | None = None

    def acquire(self, wait_s: float = 0.0) -> None:
        """Take the lock, waiting up to `wait_s` seconds for its holder.

        Raises
        ------
        FolderLockedError
            Another process holds it; the text names it.
        OSError
            The lock file cannot be opened.
        """
        deadline = time.monotonic() + wait_s
        while not self._try():
            if time.monotonic() >= deadline:
                raise FolderLockedError(
                    f"the checkpoint folder {self._path.parent} is written by {self._holder()}; "
                    "expected no other writer. End that training, or set another FL_CHECKPOINT_PATH."
                )
            time.sleep(_POLL_S)

    def held(self) -> bool:
        """Return whether we hold the lock of the folder as it is now: it may have been removed."""
        if self._descriptor is None:
            return False
        return _same_file(self._descriptor, self._path)

    def release(self) -> None:
        """Release the lock; does nothing if it is not held."""
        _HELD.discard(self)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _try(self) -> bool:
        self.release()
        descriptor = open_to_write(self._path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        _HELD.add(self)
        self._sign(descriptor)
        return True

    def _sign(self, descriptor: int) -> None:
        """Write our pid and host for the error of the next writer. On a full disk it may stay empty."""
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        except OSError:
            return

    def _holder(self) -> str:
        try:
            with open_to_read(self._path, follow=False) as file:
                holder = file.read(_MOST_HOLDER).decode(errors="replace").strip()
        except OSError:
            return "another process"
        return printable(holder) or "another process"


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _release_in_child() -> None:
    """Close a forked child's copies: a child that outlives us would keep the folder locked."""
    for lock in list(_HELD):
        lock.release()


os.register_at_fork(after_in_child=_release_in_child)
