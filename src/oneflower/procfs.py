"""Identify and signal processes by Linux's /proc, so that a signal never reaches a reused pid."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
DEAD_STATES = "ZX"
EXEC_LOOKS = 6
EXEC_LOOK_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A process, identified by its pid and start time (clock ticks since boot): a pid alone is reused."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """A running process: state letter (proc(5)), parent, session, and the CPU time of all its threads."""

    identity: Identity
    state: str
    parent: int
    session: int
    cpu_ticks: int


def boot_id() -> str:
    """Return the id of this boot of the machine: identities are valid within one boot only."""
    return (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def identify(pid: int) -> Identity | None:
    """Return the identity of a running process; None if it is gone or a zombie."""
    fields = _stat(pid)
    if fields is None or fields[0] in DEAD_STATES:
        return None
    return Identity(pid=pid, start_ticks=int(fields[19]))


def this_process() -> str:
    """Return a unique name for this process, never reused: boot, start time and pid."""
    identity = identify(os.getpid())
    start_ticks = identity.start_ticks if identity else 0
    return f"{boot_id()[:8]}-{start_ticks}-{os.getpid()}"


def status_of(pid: int) -> ProcessStatus | None:
    """Return a running process's state; None if it is gone or a zombie."""
    fields = _stat(pid)
    if fields is None or fields[0] in DEAD_STATES:
        return None
    return ProcessStatus(
        identity=Identity(pid=pid, start_ticks=int(fields[19])),
        state=fields[0],
        parent=int(fields[1]),
        session=int(fields[3]),
        cpu_ticks=int(fields[11]) + int(fields[12]),
    )


def statuses() -> Iterator[ProcessStatus]:
    """Yield the state of every running process of this machine."""
    for entry in PROC.iterdir():
        status = status_of(int(entry.name)) if entry.name.isdigit() else None
        if status is not None:
            yield status


def main_thread_runs(pid: int) -> int | None:
    """Return how often a process's main thread was scheduled; None if that cannot be read."""
    try:
        text = (PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    counts = [line.split()[1] for line in text.splitlines() if "ctxt_switches" in line]
    return sum(map(int, counts)) if counts else None


def thread_names(pid: int) -> list[str]:
    """Return the names of a process's threads; empty when it is gone."""
    names = []
    with suppress(OSError):
        for task in (PROC / str(pid) / "task").iterdir():
            with suppress(OSError):
                names.append((task / "comm").read_text(encoding="utf-8", errors="replace").rstrip("\n"))
    return names


def is_alive(identity: Identity) -> bool:
    """Return whether this very process is still running."""
    return identify(identity.pid) == identity


def parent_of(pid: int) -> int | None:
    """Return the parent's pid; None if the process is gone."""
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def session_of(pid: int) -> int | None:
    """Return the session id, which is the pid of its first process; None if the process is gone."""
    fields = _stat(pid)
    return int(fields[3]) if fields else None


def command_line(pid: int) -> list[str]:
    """Return a process's arguments; empty if it is gone, a zombie, or not readable for us."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def variable_of(pid: int, name: str) -> str | None:
    """Return a variable of the environment that a process was started with; None if it is not set."""
    content = _environment(pid)
    head = f"{name}=".encode()
    found = next((part for part in content.split(b"\0") if part.startswith(head)), None)
    return None if found is None else found[len(head) :].decode(errors="replace")


def send(identity: Identity, number: signal.Signals) -> bool:
    """Send a signal to this very process; return False if it is gone.

    The pidfd is opened first and the start time compared afterwards, so a pid that another process has
    reused is never signalled.
    """
    try:
        handle = os.pidfd_open(identity.pid)
    except OSError:
        return False
    try:
        if not is_alive(identity):
            return False
        signal.pidfd_send_signal(handle, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(handle)
    return True


def with_environment(name: str, value: str) -> Iterator[Identity]:
    """Yield every running process that was started with ``name=value``, never this one or its parents.

    A process whose exec(2) is under way shows an empty environment until the new one is set up. Those are
    read EXEC_LOOKS times at most, EXEC_LOOK_S apart.
    """
    wanted = f"{name}={value}".encode()
    excluded = set(_ancestors(os.getpid()))
    pids = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
    unread = [pid for pid in pids if pid not in excluded]
    for look in range(EXEC_LOOKS):
        if look and unread:
            time.sleep(EXEC_LOOK_S)
        looked, unread = unread, []
        for pid in looked:
            identity, content = identify(pid), _environment(pid)
            if identity and wanted in content.split(b"\0"):
                yield identity
            elif identity and not content and _has_program(pid):
                unread.append(pid)


def _environment(pid: int) -> bytes:
    """Return a process's environment, ``name=value`` each ended by a NUL; empty if it cannot be read."""
    try:
        return (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return b""


def _has_program(pid: int) -> bool:
    """Return whether a process of ours runs a program: a thread of the kernel has none."""
    try:
        (PROC / str(pid) / "exe").readlink()
    except OSError:
        return False
    return True


def _ancestors(pid: int) -> Iterator[int]:
    while pid:
        yield pid
        pid = parent_of(pid) or 0


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the third on; the second may hold spaces and brackets."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
