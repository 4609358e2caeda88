"""The processes of one boot: started, written down, looked after, and all ended together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oneflower.errors import ClusterError
from oneflower.flower.health import Health, Stalled
from oneflower.flower.programs import program_of
from oneflower.local_cluster.processes import ProcessTable, end
from oneflower.local_cluster.spawn import Child, spawn, tail
from oneflower.procfs import Identity, Sign, command_line, is_alive, parent_of, session_of

EXECUTOR = "superexec"


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A process that has ended, or has lost the executor without which it does nothing."""

    role: str
    reason: str


@dataclass(slots=True, kw_only=True)
class Children:
    """Named processes; each is in the table on disk as soon as it runs.

    ``executors_stay_dead`` says that nobody starts a dead executor again: its parent is then dead, too.
    """

    table: ProcessTable
    executors_stay_dead: bool
    _children: dict[str, Child] = field(default_factory=dict)
    _executors: dict[str, Identity] = field(default_factory=dict)
    _health: Health = field(init=False)

    def __post_init__(self) -> None:
        self._health = Health(role_of=self._role_of)

    def __contains__(self, role: str) -> bool:
        return role in self._children

    def spawn(
        self, role: str, command: list[str], *, environment: Mapping[str, str], log: Path, folder: Path
    ) -> None:
        """Start a process; see ``spawn``."""
        child = spawn(role, command, environment=environment, log=log, folder=folder)
        self._children[role] = child
        self.table.record(role, child.identity)

    def check_alive(self) -> None:
        """Raise a ClusterError with the end of its log if one has ended."""
        for child in self._children.values():
            code = child.exit_code()
            if code is not None:
                raise ClusterError(f"the {child.role} died at its start: {_ending(code)}\n{tail(child.log)}")

    def tails(self) -> str:
        """Return the end of every log."""
        return "\n".join(tail(child.log) for child in self._children.values())

    def deaths(self) -> list[Death]:
        """List the processes that no longer do their work; reaps those that have ended."""
        if self.executors_stay_dead:
            self._find_executors()
        found = []
        for role, child in self._children.items():
            code = child.exit_code()
            if code is not None:
                found.append(Death(role=role, reason=_ending(code)))
            elif role in self._executors and not is_alive(self._executors[role]):
                found.append(Death(role=role, reason="its executor has ended, and Flower starts no other"))
        return found

    def stalled(self) -> list[Stalled]:
        """Continue or end the processes of this boot that do not move; return what was done."""
        return self._health.look()

    def end_one(self, role: str) -> None:
        """End what is left of a process and of those that it has started."""
        child = self._children.pop(role, None)
        self._executors.pop(role, None)
        if child is None:
            return
        end(lambda: self._session(child), grace_s=0.0, hurry=lambda: True)
        child.popen.wait()

    def end_all(self, *, grace_s: float, hurry: Callable[[], bool]) -> None:
        """End every process of this boot, also those that Flower has started, and wait for them."""
        end(self._running, grace_s=grace_s, hurry=hurry)
        for child in self._children.values():
            child.popen.wait()
        self._children.clear()
        self._executors.clear()
        self.table.close()

    def _role_of(self, sign: Sign) -> str | None:
        """Name a process by its session: each child has its own, and what it starts stays in it."""
        return next((role for role, child in self._children.items() if child.pid == sign.session), None)

    def _running(self) -> list[Identity]:
        """List what runs, without zombies: a child that has ended is reaped first."""
        for child in self._children.values():
            child.exit_code()
        return self.table.alive()

    def _session(self, child: Child) -> list[Identity]:
        """List a child and everything below it: Flower's own children stay in its session."""
        child.exit_code()
        return [identity for identity in self.table.alive() if session_of(identity.pid) == child.pid]

    def _find_executors(self) -> None:
        by_pid = {child.pid: role for role, child in self._children.items() if role not in self._executors}
        if not by_pid:
            return
        for identity in self.table.alive():
            role = by_pid.get(parent_of(identity.pid) or 0)
            if role and program_of(command_line(identity.pid)) == EXECUTOR:
                self._executors[role] = identity


def _ending(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
