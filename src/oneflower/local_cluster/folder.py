"""The state folder of one training: its paths, its lock, and setting it aside."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from oneflower.checkpoints import close_checkpoints
from oneflower.errors import ClusterError, StateError
from oneflower.files import lock_within, make_private, open_to_write, probe, state_errors
from oneflower.flower.sockets import socket_problem
from oneflower.foreign_text import printable
from oneflower.journal import LOCK_NAME, close_journal
from oneflower.local_cluster.spawn import previous

_PID_DIGITS: Final = 20
# `oneflower status` looks at the lock, and holds it for that moment.
_LOOKED_AT_S: Final = 0.5
# SQLITE_MAX_PATHNAME is 512 bytes, those of `-journal` among them.
_LONGEST_DATABASE: Final = 504


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The folder with all files of a training; nothing is written outside it.

    ``journal.jsonl``, ``report.html``, ``training.json`` (the supervisor's state), ``processes.json`` (only
    while processes run), ``dashboard-token``, ``checkpoints/``, ``client-state/``, ``decoded-data/``,
    ``logs/``, ``tls/``, and two that are emptied at every start of the cluster: ``superlink/`` (Flower's
    database) and ``flwr-home/`` (installed apps).
    """

    root: Path

    @property
    def journal(self) -> Path:
        """The training's events, one JSON object per line."""
        return self.root / "journal.jsonl"

    @property
    def report(self) -> Path:
        """The HTML report written at the end of a training."""
        return self.root / "report.html"

    @property
    def training(self) -> Path:
        """The training's configuration and the supervisor's state."""
        return self.root / "training.json"

    @property
    def processes(self) -> Path:
        """The running processes, so that the next start can end those that a killed one left."""
        return self.root / "processes.json"

    @property
    def dashboard_token(self) -> Path:
        """The token of the dashboard, unless FL_DASHBOARD_TOKEN is set."""
        return self.root / "dashboard-token"

    @property
    def checkpoints(self) -> Path:
        """The checkpoints, unless FL_CHECKPOINT_PATH is set."""
        return self.root / "checkpoints"

    @property
    def client_state(self) -> Path:
        """What the app's clients keep in their `context.state`, by training and partition."""
        return self.root / "client-state"

    @property
    def decoded_data(self) -> Path:
        """The clients' data as arrays, a copy that can be deleted at any time."""
        return self.root / "decoded-data"

    @property
    def logs(self) -> Path:
        """One log per process, and what came before it: that of its previous start, or its own first part."""
        return self.root / "logs"

    @property
    def superlink(self) -> Path:
        """Flower's database; nothing in it is kept across starts of the cluster."""
        return self.root / "superlink"

    @property
    def flwr_home(self) -> Path:
        """The folders where Flower unpacks the app, one per process."""
        return self.root / "flwr-home"

    @property
    def tls(self) -> Path:
        """Certificates, when TLS is on."""
        return self.root / "tls"

    @property
    def sockets(self) -> Path:
        """The Unix sockets of the Control and AppIo APIs, while a cluster runs."""
        return self.root / "sockets"

    def make_sockets(self) -> Path:
        """Create the folder of the sockets and return it: in /tmp where a socket cannot be made here."""
        self.sockets.mkdir(exist_ok=True, mode=0o700)
        return Path(tempfile.mkdtemp(prefix="oneflower-")) if socket_problem(self.sockets) else self.sockets

    def require_database(self, name: str) -> None:
        """Raise StateError where SQLite cannot open the SuperLink's database, because its path is too long.

        Otherwise the SuperLink ends at its start, again and again, and nobody says why.
        """
        path = os.path.realpath(self.superlink / name)
        more = len(os.fsencode(path)) - _LONGEST_DATABASE
        if more > 0:
            raise StateError(
                f"the path of the state folder is too long: the SuperLink's database would be {path}, of "
                f"{_LONGEST_DATABASE + more} bytes, and SQLite opens none of more than {_LONGEST_DATABASE}. "
                f"Pass a path with --state that is shorter by {more} bytes"
            )

    def log(self, role: str) -> Path:
        """Return the log of one process."""
        return self.logs / f"{role}.log"

    def make(self) -> None:
        """Create the folder and test that it can be written.

        Raises
        ------
        StateError
            No permission, a file in the way, a read-only or a full disk.
        """
        with state_errors(self.root):
            is_ours = self.is_used() or not self.root.is_dir() or not any(self.root.iterdir())
        probe(self.root)
        with state_errors(self.logs):
            self.logs.mkdir(exist_ok=True, mode=0o700)
        self._close_to_others(with_root=is_ours)

    def _close_to_others(self, *, with_root: bool) -> None:
        """Let only its user read what is in the folder; one that holds other things, too, keeps its mode.

        Files in a folder of ours are reached through it alone.
        """
        if with_root:
            make_private(self.root)
        files = (self.journal, self.report, self.training, self.processes, self.root / LOCK_NAME)
        folders = (self.checkpoints, self.client_state, self.logs, self.superlink, self.flwr_home, self.tls)
        for path in (*files, *folders, *self.logs.glob("*")):
            make_private(path)
        close_journal(self.journal)
        close_checkpoints(self.checkpoints)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder for this process; the kernel releases the lock however the process ends.

        Raises
        ------
        ClusterError
            Another ``oneflower up`` holds the lock; the text names its pid.
        """
        with state_errors(self.root):
            descriptor = open_to_write(self.root / LOCK_NAME, os.O_RDWR | os.O_APPEND)
        with os.fdopen(descriptor, "a+", encoding="ascii", errors="replace") as file:
            if not lock_within(descriptor, _LOOKED_AT_S):
                file.seek(0)
                raise ClusterError(
                    f"{self.root} is in use by `oneflower up` or `simulate` with pid "
                    f"{printable(file.read(_PID_DIGITS).strip()) or 'unknown'}: wait for it, end it, or "
                    "pass another folder with --state"
                )
            with state_errors(self.root):
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
            yield

    def delete_decoded_data(self) -> None:
        """Delete the copy of the clients' data; StateError if that fails, for somebody wants it gone."""
        with state_errors(self.decoded_data):
            if self.decoded_data.is_symlink():
                self.decoded_data.unlink()
            elif self.decoded_data.exists():
                shutil.rmtree(self.decoded_data)

    def keep_old_logs(self) -> None:
        """Rename the logs of the previous start to ``.log.1``: a crash is often examined after a restart."""
        with state_errors(self.logs):
            for log in self.logs.glob("*.log"):
                log.replace(previous(log))

    def is_used(self) -> bool:
        """Return whether the folder holds files of a training."""
        return any(path.exists() for path in (self.journal, self.training, self.checkpoints))


def absolute(path: Path) -> Path:
    """Return a path from / without `..`, which the paths of checkpoints and of apps must not hold.

    Links are followed where there is a `..` only: another name for a folder is another setting.
    """
    return path.resolve() if ".." in path.parts else path.absolute()


def set_aside(path: Path) -> Path:
    """Rename a folder to the first free of ``name.1``, ``name.2``, ...; nothing is deleted.

    Raises
    ------
    StateError
        It cannot be renamed, for example because it is a mount point.
    """
    number = 1
    while (target := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    with state_errors(path):
        path.rename(target)
    return target
