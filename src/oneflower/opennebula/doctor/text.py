"""Pieces of logs: their end, and the line in it that says what went wrong."""

import os
import re
import stat
from pathlib import Path

_ERROR = re.compile(
    r"\b(error|failed|failure|cannot|refused|denied|exception|fatal|critical)\b", re.IGNORECASE
)
_LONGEST = 300


def end_of(path: Path, size_bytes: int) -> str:
    """Return the end of a file, whole lines; empty where it cannot be read."""
    try:
        # A folder of the containers' user may hold a link to what is root's, or a pipe that nobody writes to.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return ""
            size = file.seek(0, 2)
            file.seek(max(0, size - size_bytes))
            content = file.read(size_bytes)
    except OSError:
        return ""
    if size > size_bytes:
        content = content.partition(b"\n")[2]
    return content.decode("utf-8", errors="replace")


def last_error(log: str) -> str:
    """Return the last line that speaks of an error, else the last line, shortened."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.search(line)]
    return (errors or lines or [""])[-1][:_LONGEST]
