"""The units of a machine: write them, start them, and restart only those whose inputs have changed."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oneflower.errors import ClusterError, StateError
from oneflower.files import read_json, replace_file
from oneflower.opennebula.appliance.commands import Commands, succeeds
from oneflower.opennebula.appliance.layout import Layout

log = logging.getLogger(__name__)

SYSTEMCTL = "/usr/bin/systemctl"
JOURNALCTL = "/usr/bin/journalctl"
POLL_S = 1.0
LOG_LINES = 15


class UnitEndedError(ClusterError):
    """A unit has ended for good: systemd does not restart it, and nothing else should."""

    passing = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A unit, the files that it reads when it starts, and whether the machine needs it to be READY."""

    name: str
    text: str
    files: tuple[Path, ...] = ()
    needed: bool = True

    def fingerprint(self) -> str:
        """Return a digest of the unit and its files: it differs if a restart would change something."""
        digest = hashlib.sha256(self.text.encode())
        for path in self.files:
            digest.update(path.read_bytes() if path.is_file() else b"-")
        return digest.hexdigest()


class Systemd:
    """The units of this machine."""

    def __init__(
        self, layout: Layout, commands: Commands, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._layout = layout
        self._commands = commands
        self._sleep = sleep

    def write(self, units: Sequence[Unit]) -> None:
        """Write the units' files, and reload systemd if one has changed."""
        changed = [self._write(unit) for unit in units]
        if any(changed):
            self._commands.run(SYSTEMCTL, "daemon-reload")

    def start(self, units: Sequence[Unit]) -> list[str]:
        """Start units that do not run and restart those that have changed; return the names of both."""
        before = self._started()
        now = {unit.name: unit.fingerprint() for unit in units}
        started = []
        for name, fingerprint in now.items():
            if before.get(name) == fingerprint and self.is_active(name):
                continue
            log.info("unit started name=%s changed=%s", name, before.get(name) not in (None, fingerprint))
            self._commands.run(SYSTEMCTL, "restart", name)
            started.append(name)
        self._layout.write(self._layout.started, json.dumps({**before, **now}, indent=2) + "\n")
        return started

    def remove(self, names: Sequence[str]) -> None:
        """Stop units that are no longer needed, and remove their files."""
        present = [name for name in names if (self._layout.units / name).exists()]
        for name in present:
            log.info("unit removed name=%s", name)
            self._commands.run(SYSTEMCTL, "stop", name)
            (self._layout.units / name).unlink(missing_ok=True)
        if present:
            self._commands.run(SYSTEMCTL, "daemon-reload")

    def is_active(self, name: str) -> bool:
        """Whether the unit's program runs."""
        return succeeds(self._commands, (SYSTEMCTL, "is-active", "--quiet", name))

    def has_failed(self, name: str) -> bool:
        """Whether the unit has ended with an error and will not be restarted."""
        return succeeds(self._commands, (SYSTEMCTL, "is-failed", "--quiet", name))

    def log_since_start(self, name: str) -> str:
        """Return the unit's log since it was last started."""
        shown = self._commands.run(SYSTEMCTL, "show", "--property=InvocationID", "--value", name)
        return self._commands.run(
            JOURNALCTL, "--output=cat", "--no-pager", f"_SYSTEMD_INVOCATION_ID={shown.strip()}"
        )

    def wait(self, name: str, healthy: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Wait until a unit runs and is healthy. Errors contain the end of its log.

        Raises
        ------
        UnitEndedError
            It has ended with an error, and systemd does not restart it.
        ClusterError
            It is not healthy in time.
        """
        deadline = time.monotonic() + timeout_s
        while not (self.is_active(name) and healthy()):
            if self.has_failed(name):
                raise UnitEndedError(f"{name} has ended. End of its log:\n{self._tail(name)}")
            if time.monotonic() > deadline:
                late = f"{what} within {timeout_s:.0f} s"
                raise ClusterError(f"{name}: {late}. End of its log:\n{self._tail(name)}")
            self._sleep(POLL_S)

    def _write(self, unit: Unit) -> bool:
        path = self._layout.units / unit.name
        try:
            if path.is_file() and path.read_text(encoding="utf-8") == unit.text:
                return False
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, unit.text.encode(), mode=0o644)
            # one-apps' stages run with a umask of 0077.
            path.chmod(0o644)
        except OSError as error:
            raise StateError(f"cannot write {path}: {error.strerror}; fix that and start again") from None
        return True

    def _tail(self, name: str) -> str:
        command = (JOURNALCTL, "--output=cat", "--no-pager", f"--lines={LOG_LINES}", f"--unit={name}")
        try:
            return self._commands.run(*command)
        except ClusterError as error:
            return str(error)

    def _started(self) -> Mapping[str, str]:
        return read_json(self._layout.started)
