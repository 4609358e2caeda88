"""The processes of one boot: start, record, check and end them together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oneflower.errors import ClusterError
from oneflower.flower.health import Health, Stalled
from oneflower.flower.programs import program_of
from oneflower.local_cluster.processes import ProcessTable, end
from oneflower.local_cluster.spawn import Child, cut, spawn, tail
from oneflower.procfs import Identity, ProcessStatus, command_line, is_alive, parent_of, session_of

EXECUTOR = "superexec"


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A process that has ended, or whose executor has ended, without which it does no work."""

    role: str
    reason: str


@dataclass(slots=True, kw_only=True)
class Children:
    """Processes by role; each is recorded in the table on disk as soon as it runs.

    ``executors_stay_dead``: nobody restarts a dead executor, so its parent counts as dead too.
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
        """Start a process and record it; see `spawn.spawn`."""
        child = spawn(role, command, environment=environment, log=log, folder=folder)
        self._children[role] = child
        self.table.record(role, child.identity)

    def check_alive(self) -> None:
        """Raise a ClusterError with the end of the log if a process has ended."""
        for child in self._children.values():
            code = child.exit_code()
            if code is not None:
                raise ClusterError(f"the {child.role} died at the start: {_ending(code)}\n{tail(child.log)}")

    def tails(self) -> str:
        """Return the end of every log."""
        return "\n".join(tail(child.log) for child in self._children.values())

    def deaths(self) -> list[Death]:
        """Return the processes that no longer work; reaps those that have ended."""
        if self.executors_stay_dead:
            self._find_executors()
        found = []
        for role, child in self._children.items():
            code = child.exit_code()
            if code is not None:
                found.append(Death(role=role, reason=_ending(code)))
            elif role in self._executors and not is_alive(self._executors[role]):
                found.append(Death(role=role, reason="its executor has ended; Flower does not restart it"))
        return found

    def stalled(self) -> list[Stalled]:
        """Continue or end the stalled processes of this boot; return what was done."""
        return self._health.look()

    def cut_logs(self) -> None:
        """Keep every log at a bounded size."""
        for child in self._children.values():
            cut(child.log)

    def end_one(self, role: str) -> None:
        """End a process and those that it has started, as far as they still run."""
        child = self._children.pop(role, None)
        self._executors.pop(role, None)
        if child is None:
            return
        end(lambda: self._session(child), grace_s=0.0, hurry=lambda: True)
        child.popen.wait()

    def end_all(self, *, grace_s: float, hurry: Callable[[], bool]) -> None:
        """End every process of this boot, including those that Flower has started, and wait for them."""
        end(self._running, grace_s=grace_s, hurry=hurry)
        for child in self._children.values():
            child.popen.wait()
        self._children.clear()
        self._executors.clear()
        self.table.close()

    def _role_of(self, status: ProcessStatus) -> str | None:
        """Return a process's role by its session: each child has its own, and its children stay in it."""
        return next((role for role, child in self._children.items() if child.pid == status.session), None)

    def _running(self) -> list[Identity]:
        """Return the running processes, without zombies: ended children are reaped first."""
        for child in self._children.values():
            child.exit_code()
        return self.table.alive()

    def _session(self, child: Child) -> list[Identity]:
        """Return a child and its descendants: Flower's own children stay in its session."""
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
