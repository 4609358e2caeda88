"""Make one call to OneGate at a time from a VM, across the processes of stages, report and doctor."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from oneflower.files import open_to_write

LONGEST_WAIT_S = 120.0
POLL_S = 0.2


@contextmanager
def exclusive_call(
    path: Path | None, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Iterator[None]:
    """Hold the lock of a file; do nothing without a path or if the file cannot be created.

    The lock ends with its process.

    Raises
    ------
    TimeoutError
        Another process has held the lock for two minutes, longer than a call may take.
    """
    descriptor = _opened(path)
    if descriptor is None:
        yield
        return
    try:
        _lock(descriptor, clock, sleep)
        yield
    finally:
        os.close(descriptor)


def _opened(path: Path | None) -> int | None:
    if path is None:
        return None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return open_to_write(path, os.O_RDWR)
    except OSError:
        return None


def _lock(descriptor: int, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
    deadline = clock() + LONGEST_WAIT_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock() > deadline:
                raise TimeoutError(
                    f"another process of this VM has been calling OneGate for {LONGEST_WAIT_S:.0f} s"
                ) from None
            sleep(POLL_S)
