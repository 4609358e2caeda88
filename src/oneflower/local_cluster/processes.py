"""Record started processes on disk before they can be orphaned, find them again, and end them."""

import logging
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from oneflower.errors import ClusterError, StateError
from oneflower.files import read_json, write_json
from oneflower.procfs import Identity, boot_id, identify, is_alive, send, with_environment

log = logging.getLogger(__name__)

# Every process of a cluster inherits it, grandchildren too: superexec, flwr-serverapp, flwr-clientapp.
MARKER = "ONEFLOWER_CLUSTER"
SCHEMA = 1
POLL_S = 0.05
GIVE_UP_S = 10.0


@dataclass(slots=True, kw_only=True)
class ProcessTable:
    """The processes of one boot of a cluster, recorded in ``processes.json``.

    The random ``token`` is written to disk before the first process starts. Each process has it in its
    environment, so even one whose pid was never recorded is found, and no other process is.
    """

    path: Path
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    _records: dict[str, dict[str, Any]] = field(default_factory=dict)

    def open(self) -> None:
        """Write the token: from now on every process that has it can be found."""
        self._write()

    def record(self, role: str, identity: Identity) -> None:
        """Record a process that has just started; it replaces an earlier one of the same role."""
        self._records[role] = {
            "pid": identity.pid,
            "start_ticks": identity.start_ticks,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            self._write()
        except StateError as error:
            # The token finds it too; a full disk must not end a process that has just started.
            log.warning("%s", error)

    def alive(self) -> list[Identity]:
        """Return every running process of this boot."""
        return _alive(self.token, self._records.values())

    def close(self) -> None:
        """Remove the file; the processes have ended."""
        self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        owner = identify_self()
        write_json(
            self.path,
            {
                "v": SCHEMA,
                "boot_id": boot_id(),
                "token": self.token,
                "owner": {"pid": owner.pid, "start_ticks": owner.start_ticks},
                "processes": self._records,
            },
        )


def identify_self() -> Identity:
    """Return this process's identity."""
    identity = identify(os.getpid())
    if identity is None:
        raise RuntimeError("this process is not in /proc: is /proc mounted?")
    return identity


def leftovers(path: Path) -> list[Identity]:
    """Return the processes that an earlier, killed ``up`` left running."""
    table = read_json(path)
    if table.get("boot_id") != boot_id() or not isinstance(table.get("token"), str):
        return []
    records = table.get("processes")
    return _alive(table["token"], records.values() if isinstance(records, dict) else ())


def end(find: Callable[[], Iterable[Identity]], *, grace_s: float, hurry: Callable[[], bool]) -> int:
    """End all processes that ``find`` returns, and those that they start meanwhile.

    SIGTERM first, so that SuperNodes unregister; SIGKILL after ``grace_s`` seconds, or immediately if
    ``hurry`` returns True.

    Returns
    -------
    int
        The number of processes ended.

    Raises
    ------
    ClusterError
        Some still run GIVE_UP_S after SIGKILL (another user's, or stuck in the kernel); the text names them.
    """
    ended: set[Identity] = set()
    deadline = time.monotonic() + grace_s
    while running := list(find()):
        late = time.monotonic() >= deadline or hurry()
        if time.monotonic() >= deadline + GIVE_UP_S:
            pids = ", ".join(str(identity.pid) for identity in running)
            raise ClusterError(f"processes {pids} of this cluster cannot be ended: end them manually")
        for identity in running:
            if late or identity not in ended:
                send(identity, signal.SIGKILL if late else signal.SIGTERM)
            ended.add(identity)
        time.sleep(POLL_S)
    return len(ended)


def _alive(token: str, records: Iterable[dict[str, Any]]) -> list[Identity]:
    found = set(with_environment(MARKER, token))
    for record in records:
        try:
            identity = Identity(pid=int(record["pid"]), start_ticks=int(record["start_ticks"]))
        except (KeyError, TypeError, ValueError):
            continue
        if is_alive(identity):
            found.add(identity)
    return sorted(found, key=lambda identity: identity.pid)
