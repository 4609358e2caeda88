"""What a failed file operation means to the operator, and how it is mended."""

import errno
import os
from pathlib import Path
from typing import Final

from oneflower.errors import StateError

_HINTS: Final = {
    errno.ENOSPC: "The disk is full: free space on it, give it more, or lower FL_CHECKPOINT_KEEP.",
    errno.EDQUOT: "The disk quota is used up: raise it, free space, or lower FL_CHECKPOINT_KEEP.",
    errno.EROFS: "The disk is mounted read-only: mount it writable, or choose another path.",
    errno.ENOENT: "The folder is not there: make it or mount its disk, or choose another path.",
    errno.ENOTDIR: "A part of the path is a file: choose another path.",
    errno.EIO: "The disk reports an error: check it (dmesg, smartctl) and its cable or network.",
}
_DENIED: Final = (errno.EACCES, errno.EPERM)


def hint(error: OSError) -> str:
    """Say how to mend what the system refused."""
    if error.errno in _DENIED:
        return f"Let user {os.geteuid()} write the folder (chown, chmod), or choose another path."
    return _HINTS.get(error.errno or 0, "Check the folder and its disk.")


def state_error(error: OSError, doing: str, folder: Path) -> StateError:
    """Return the StateError for an operation on the checkpoint folder that the system refused."""
    return StateError(f"{doing} in {folder} failed: {error.strerror or error}. {hint(error)}")
