"""A helper process that is started again when it dies, and that dies with this one."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from logging import WARNING

from flwr.common import log

PR_SET_PDEATHSIG = 1
SHORTEST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
STEADY_S = 30.0
"""Who ran this long is started again at once; who died sooner waits twice as long as the last time."""


def die_with_parent(parent_pid: int) -> None:
    """Let the kernel kill this process when its parent ends, even by kill -9. Linux only.

    The setting outlives exec, is not inherited by fork, and is sent when the parent's *thread* that started
    this process ends.
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
    """Run a command for as long as this process lives, started again each time it ends.

    `on_end` is called after each end, before the new start. Returns the thread that watches.
    """
    thread = threading.Thread(
        target=_watch, args=(list(command), name, on_end, sleep), name=name, daemon=True
    )
    thread.start()
    return thread


def _watch(
    command: list[str], name: str, on_end: Callable[[], object], sleep: Callable[[float], object]
) -> None:
    pause = SHORTEST_PAUSE_S
    while True:
        started = time.monotonic()
        code = subprocess.Popen(command).wait()
        pause = SHORTEST_PAUSE_S if time.monotonic() - started > STEADY_S else min(2 * pause, LONGEST_PAUSE_S)
        log(WARNING, "%s ended and is started again code=%d pause_s=%.1f", name, code, pause)
        on_end()
        sleep(pause)
