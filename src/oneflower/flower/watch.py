"""Helper processes: restarted when they end, ended with their parent, continued where a signal stopped them.

Imports nothing of Flower's: a guard must stay small.
"""

import ctypes
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

from oneflower.procfs import send, status_of
from oneflower.stalls import STOPPED

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1
SHORTEST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
CHECK_EVERY_S = 60.0
"""How often a helper is checked; later than `Health` would act, which reports what it does."""
CHECK_PARENT_EVERY_S = 25.0
"""How often a helper checks its parent; one that is stopped at two checks has lost its guard."""
STEADY_S = 30.0
"""A helper that ran this long is restarted at once; one that ended sooner waits twice as long as before."""


def die_with_parent(parent_pid: int) -> None:
    """Let the kernel kill this process when its parent ends, even by kill -9. Linux only.

    The setting outlives exec, is not inherited by fork, and takes effect when the parent's *thread* that
    started this process ends.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the line above
        sys.exit(f"the parent process {parent_pid} is gone")


def keep_running(
    command: Sequence[str],
    *,
    name: str,
    on_end: Callable[[], object] = bool,
    sleep: Callable[[float], object] = time.sleep,
) -> threading.Thread:
    """Run a command for as long as this process lives, and restart it each time it ends.

    `on_end` is called after each end, before the new start. Returns the thread that watches.
    """
    thread = threading.Thread(
        target=_watch, args=(list(command), name, on_end, sleep), name=name, daemon=True
    )
    thread.start()
    return thread


def look_after_parent(parent_pid: int, *, sleep: Callable[[float], object] = time.sleep) -> threading.Thread:
    """Continue the parent where a signal stopped it long ago: its guard may have died in that time.

    A stopped program cannot restart its guard; once continued, it does.
    """
    thread = threading.Thread(target=_look_at, args=(parent_pid, sleep), name="parent", daemon=True)
    thread.start()
    return thread


def _look_at(parent_pid: int, sleep: Callable[[float], object]) -> None:
    looks = 0
    while (status := status_of(parent_pid)) is not None:
        looks = looks + 1 if status.state == STOPPED else 0
        if looks == 2:
            log.warning("the parent %d was stopped by a signal (SIGSTOP): continued", parent_pid)
            send(status.identity, signal.SIGCONT)
            looks = 0
        sleep(CHECK_PARENT_EVERY_S)


def _watch(
    command: list[str], name: str, on_end: Callable[[], object], sleep: Callable[[float], object]
) -> None:
    pause = SHORTEST_PAUSE_S
    while True:
        started = time.monotonic()
        how = _run(command)
        pause = SHORTEST_PAUSE_S if time.monotonic() - started > STEADY_S else min(2 * pause, LONGEST_PAUSE_S)
        log.warning("%s %s and is restarted pause_s=%.1f", name, how, pause)
        on_end()
        sleep(pause)


def _run(command: list[str]) -> str:
    """Run a command to its end, and continue it where it is stopped; say how it ended."""
    try:
        process = subprocess.Popen(command)
    except OSError as error:  # no process or no memory is left for the moment
        return f"cannot be started reason={error.strerror}"
    stopped = 0
    while not _ends_within(process.pid, CHECK_EVERY_S):
        status = status_of(process.pid)
        stopped = stopped + 1 if status is not None and status.state == STOPPED else 0
        if stopped:
            log.warning("pid %d was stopped by a signal (SIGSTOP): continued or ended", process.pid)
            process.send_signal(signal.SIGCONT if stopped == 1 else signal.SIGKILL)
    return f"ended code={process.wait()}"


def _ends_within(pid: int, seconds: float) -> bool:
    """Wait for the end of a child without asking again and again."""
    descriptor = os.pidfd_open(pid)
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)
