"""Tie a process to its parent's life. Imports nothing of Flower's: a guard must stay small."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """Let the kernel kill this process when its parent ends, even by kill -9. Linux only.

    The setting outlives exec, is not inherited by fork, and is sent when the parent's *thread* that started
    this process ends.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the line above
        sys.exit(f"the parent process {parent_pid} is gone")
