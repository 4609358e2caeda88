"""One call to OneGate at a time from a VM: stages, report and doctor are processes of their own."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST_WAIT_S = 120.0
POLL_S = 0.2


@contextmanager
def taking_turns(
    path: Path | None, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Iterator[None]:
    """Hold the file's lock; without a path, or where it cannot be made, nothing is locked.

    The lock ends with its process, however that ends.

    Raises
    ------
    TimeoutError
        Another process holds it for two minutes: longer than its call may take.
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
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
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
                    f"another process of this VM has spoken to OneGate for {LONGEST_WAIT_S:.0f} s"
                ) from None
            sleep(POLL_S)
