"""The Flower processes beside a supervisor, found in /proc by the ports that they were told.

Flower starts no dead superexec again and calls a run without a ServerApp `running` for a minute or for ever;
the processes themselves tell at once.
"""

import logging
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from oneflower import procfs
from oneflower.flower.programs import RUN_VARIABLE, program_of, value_of
from oneflower.flower.sockets import port_of
from oneflower.procfs import PROC, Identity, ProcessStatus, command_line, identify, is_alive, send

log = logging.getLogger(__name__)

# Flower's own defaults, where a process was not told: flwr/common/constant.py.
CONTROL_PORT: Final = "9093"
SERVERAPPIO_PORT: Final = "9091"
TERM_GRACE_S: Final = 10.0
POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What runs now: the SuperLink, the executors of its ServerApps, the ServerApps themselves.

    ``runs`` holds the run of each ServerApp that says so (`RUN_VARIABLE`); the others may be any run's.
    """

    superlink: Identity | None = None
    executors: tuple[Identity, ...] = ()
    apps: tuple[Identity, ...] = ()
    runs: Mapping[Identity, int] = field(default_factory=dict)

    def apps_of(self, runs: Collection[int]) -> tuple[Identity, ...]:
        """Return the ServerApps that may be of these runs: not those that say that they are of another."""
        return tuple(app for app in self.apps if app not in self.runs or self.runs[app] in runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How much processes have done so far: CPU seconds with their children's, and turns of main threads."""

    cpu_s: float
    turns: int


class FlowerProcesses:
    """The processes of the SuperLink whose Control API listens on the port of ``control_address``.

    Parameters
    ----------
    control_address : str
        ``host:port``, or the socket of that port.
    commands : callable
        Gives every running process with its arguments; tests pass their own.
    """

    def __init__(
        self,
        control_address: str,
        *,
        commands: Callable[[], Iterator[tuple[Identity, Sequence[str]]]] | None = None,
        variable_of: Callable[[int, str], str | None] = procfs.variable_of,
    ) -> None:
        self._control_port = port_of(control_address)
        self._commands = commands or _running
        self._variable_of = variable_of
        self._appio_port: str | None = None

    def look(self) -> Sight | None:
        """Return what runs; None where no SuperLink was ever seen, as from another PID namespace."""
        running = [(who, command, program_of(command)) for who, command in self._commands()]
        superlink = next(
            (
                (who, command)
                for who, command, program in running
                if program == "superlink"
                and _port_of("--control-api-address", command, CONTROL_PORT) == self._control_port
            ),
            None,
        )
        if superlink is not None:
            self._appio_port = _port_of("--serverappio-api-address", superlink[1], SERVERAPPIO_PORT)
        if self._appio_port is None:
            return None
        apps = self._beside(running, "serverapp", "--serverappio-api-address")
        known = ((app, self._variable_of(app.pid, RUN_VARIABLE) or "") for app in apps)
        return Sight(
            superlink=superlink[0] if superlink else None,
            executors=self._beside(running, "superexec", "--appio-api-address"),
            apps=apps,
            runs={app: int(run) for app, run in known if run.isdecimal()},
        )

    def end_apps(self, runs: Collection[int]) -> int:
        """Kill ServerApps that are left over of these runs; return how many there were."""
        sight = self.look()
        return sum(send(app, signal.SIGKILL) for app in sight.apps_of(runs)) if sight else 0

    def work(self, of: Collection[Identity]) -> Work:
        """Measure what processes and their descendants have done."""
        statuses = {status.identity.pid: status for status in procfs.statuses()}
        tops = {identity.pid for identity in of}
        ticks = sum(status.cpu_ticks for status in statuses.values() if _is_below(status, tops, statuses))
        turns = sum(procfs.main_thread_runs(pid) or 0 for pid in tops)
        return Work(cpu_s=ticks / os.sysconf("SC_CLK_TCK"), turns=turns)

    def end_superlink(self) -> bool:
        """End the SuperLink, so that whoever keeps it running starts it again; False where none was seen."""
        sight = self.look()
        if sight is None or sight.superlink is None:
            return False
        log.warning("SuperLink ended, to be restarted pid=%d", sight.superlink.pid)
        if not send(sight.superlink, signal.SIGTERM):
            return False
        deadline = time.monotonic() + TERM_GRACE_S
        while is_alive(sight.superlink):
            if time.monotonic() > deadline:
                send(sight.superlink, signal.SIGKILL)
            time.sleep(POLL_S)
        # They end with it by themselves, unless they hang or are stopped.
        for left in (*sight.executors, *sight.apps):
            send(left, signal.SIGKILL)
        return True

    def _beside(
        self, running: Sequence[tuple[Identity, Sequence[str], str | None]], wanted: str, flag: str
    ) -> tuple[Identity, ...]:
        return tuple(
            who
            for who, command, program in running
            if program == wanted and _port_of(flag, command, SERVERAPPIO_PORT) == self._appio_port
        )


def _is_below(status: ProcessStatus, tops: Collection[int], statuses: Mapping[int, ProcessStatus]) -> bool:
    seen: ProcessStatus | None = status
    while seen is not None:
        if seen.identity.pid in tops:
            return True
        seen = statuses.get(seen.parent)
    return False


def _running() -> Iterator[tuple[Identity, Sequence[str]]]:
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            command = command_line(int(entry.name))
            identity = identify(int(entry.name)) if command else None
            if identity is not None:
                yield identity, command


def _port_of(flag: str, command: Sequence[str], default: str) -> str:
    return port_of(value_of(flag, command) or default)
