"""Run a command and measure all processes below it, also those that left their parents.

``python measure.py OUT LIMIT_S FINISHED SERVER COMMAND...``: OUT gets a JSON object. The clock stops when the
file FINISHED is there, or when the command ends. SERVER is a regular expression for the command lines of the
server's processes. This process is a child subreaper: it inherits, waits for and counts every descendant, and
ends those that are still there, by pid.
"""

import ctypes
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
TICK_S, MEMORY_EVERY_S, GRACE_S = 0.05, 0.5, 20.0
MAPPING = re.compile(rb"[0-9a-f]+-[0-9a-f]+ \S+ (\S+) (\S+) (\d+)")


def descendants() -> list[int]:
    """Return the pids of all processes below this one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [os.getpid()]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def command_of(pid: int) -> str:
    """Return a process's command line; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def resident_bytes(pids: list[int]) -> int:
    """Return the resident memory of processes together; a page of a file that several map counts once."""
    own, files = 0, dict[tuple[bytes, bytes, bytes], int]()
    for pid in pids:
        with suppress(OSError):
            place = (b"", b"", b"")
            resident = 0
            for line in Path(f"/proc/{pid}/smaps").read_bytes().splitlines():
                head = MAPPING.match(line)
                if head:
                    place = head.groups()
                elif line.startswith(b"Rss:"):
                    resident = int(line.split()[1])
                elif line.startswith(b"Anonymous:"):
                    private = int(line.split()[1])
                    own += private
                    files[place] = max(files.get(place, 0), resident - private)
    return (own + sum(files.values())) * 1024


def reap() -> None:
    """Wait for whatever has ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def end_all() -> None:
    """End what the command has left, politely first."""
    until = time.monotonic() + GRACE_S
    while pids := descendants():
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM if time.monotonic() < until else signal.SIGKILL)
        time.sleep(0.5)
        reap()


def main() -> None:
    """Measure one command."""
    out, limit_s, finished, server, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    began, wall_s, peak, looked = time.monotonic(), 0.0, 0, 0.0
    process = subprocess.Popen(command, start_new_session=True)
    while process.poll() is None and time.monotonic() - began < float(limit_s):
        now = time.monotonic()
        if not wall_s and Path(finished).exists():
            wall_s = now - began
        if now - looked >= MEMORY_EVERY_S:
            looked = now
            peak = max(
                peak, resident_bytes([pid for pid in descendants() if re.search(server, command_of(pid))])
            )
        time.sleep(TICK_S)
    wall_s = wall_s or time.monotonic() - began
    code = process.poll()
    end_all()
    process.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {"wall_s": wall_s, "cpu_s": used.ru_utime + used.ru_stime, "server_mb": peak / 1e6, "code": code}
    Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
