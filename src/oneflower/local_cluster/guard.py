"""Execute a program that the kernel kills when its parent dies, even by kill -9.

``python -I -S guard.py PARENT_PID PROGRAM ARGS...``: run as a file, in the child, before the program.
Popen's preexec_fn could do the same, but would run Python between fork and exec in a parent with gRPC
threads. Linux only; the setting survives exec.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Tie this process to its parent and execute the program."""
    parent, program = int(argv[0]), argv[1:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    # If the parent died before the prctl, no signal will come.
    if os.getppid() != parent:
        sys.exit("the parent is gone")
    os.execv(program[0], program)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
