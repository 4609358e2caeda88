"""Which process is which: Linux's /proc, read so that a signal can only reach the process that was meant."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
DEAD_STATES = "ZX"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A process for good: pids are used again, a pid with its start time (clock ticks since boot) is not."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """A sign of life: state letter (proc(5)), parent, session, and the CPU time of all its threads."""

    identity: Identity
    state: str
    parent: int
    session: int
    cpu_ticks: int


def boot_id() -> str:
    """Return the id of this boot of the machine: identities of another boot mean nothing."""
    return (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def identify(pid: int) -> Identity | None:
    """Return the identity of a running process; None when there is none, or only its zombie."""
    fields = _stat(pid)
    if fields is None or fields[0] in DEAD_STATES:
        return None
    return Identity(pid=pid, start_ticks=int(fields[19]))


def this_process() -> str:
    """Return a name for this process that no other has had or will have: boot, start time and pid."""
    identity = identify(os.getpid())
    start_ticks = identity.start_ticks if identity else 0
    return f"{boot_id()[:8]}-{start_ticks}-{os.getpid()}"


def sign_of(pid: int) -> Sign | None:
    """Return a running process's sign of life; None when it is gone, or a zombie."""
    fields = _stat(pid)
    if fields is None or fields[0] in DEAD_STATES:
        return None
    return Sign(
        identity=Identity(pid=pid, start_ticks=int(fields[19])),
        state=fields[0],
        parent=int(fields[1]),
        session=int(fields[3]),
        cpu_ticks=int(fields[11]) + int(fields[12]),
    )


def signs() -> Iterator[Sign]:
    """Yield the signs of life of every process of this machine."""
    for entry in PROC.iterdir():
        sign = sign_of(int(entry.name)) if entry.name.isdigit() else None
        if sign is not None:
            yield sign


def main_thread_runs(pid: int) -> int | None:
    """Return how often a process's main thread was given the CPU; None when that cannot be read."""
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
    """Whether exactly this process still runs."""
    return identify(identity.pid) == identity


def parent_of(pid: int) -> int | None:
    """Return the parent's pid; None when the process is gone."""
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def session_of(pid: int) -> int | None:
    """Return the session's id, which is its first process's pid; None when the process is gone."""
    fields = _stat(pid)
    return int(fields[3]) if fields else None


def command_line(pid: int) -> list[str]:
    """Return a process's arguments; empty when it is gone, a zombie, or not ours to read."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def variable_of(pid: int, name: str) -> str | None:
    """Return a variable of the environment that a process was started with; None without one."""
    try:
        content = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return None
    head = f"{name}=".encode()
    found = next((part for part in content.split(b"\0") if part.startswith(head)), None)
    return None if found is None else found[len(head) :].decode(errors="replace")


def send(identity: Identity, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; False when it is gone already.

    The pidfd is opened first and the start time compared after: a pid that was taken over meanwhile by
    another process is never hit.
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
    """Yield every running process that was started with ``name=value``, never this one or its parents."""
    wanted = f"{name}={value}".encode()
    spared = set(_ancestors(os.getpid()))
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) in spared:
            continue
        with suppress(OSError):
            identity = identify(int(entry.name))
            if identity and wanted in (entry / "environ").read_bytes().split(b"\0"):
                yield identity


def _ancestors(pid: int) -> Iterator[int]:
    while pid:
        yield pid
        pid = parent_of(pid) or 0


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the third on; the second, a name, may hold spaces and brackets."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
