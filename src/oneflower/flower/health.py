"""Continue Flower processes that a signal stopped, and end those that hang: their parent restarts them."""

import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from oneflower import procfs
from oneflower.codes import StallAct, StallCode
from oneflower.flower.programs import has_loop
from oneflower.journal.events import ProcessStalled
from oneflower.procfs import Identity, ProcessStatus
from oneflower.stalls import AwakeClock, Stall, StallDetector

EVERY_S: Final = 2.0
# A look reads two small files a process: with a thousand nodes it is made less often, for 5 % of a core.
SHARE: Final = 20.0
SIGNALS: Final = {StallAct.CONTINUED: signal.SIGCONT, StallAct.ENDED: signal.SIGKILL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalled:
    """A process that made no progress: its role, why that was concluded, and what was done to it."""

    role: str
    pid: int
    act: StallAct
    code: StallCode
    reason: str

    @property
    def event(self) -> ProcessStalled:
        """What the journal holds of it."""
        return ProcessStalled(role=self.role, done=self.act, code=self.code, reason=self.reason)


@dataclass(slots=True)
class Health:
    """Watches the processes that ``role_of`` names; ``look`` may be called as often as one likes.

    Parameters
    ----------
    role_of
        Returns the role of a process, None for one that is not ours.
    """

    role_of: Callable[[ProcessStatus], str | None]
    clock: Callable[[], float] = time.monotonic
    statuses: Callable[[], Iterable[ProcessStatus]] = procfs.statuses
    send: Callable[[Identity, signal.Signals], bool] = procfs.send
    command_line: Callable[[int], list[str]] = procfs.command_line
    runs: Callable[[int], int | None] = procfs.main_thread_runs
    _next: float = 0.0
    _loops: dict[Identity, bool] = field(default_factory=dict)
    _detector: StallDetector = field(init=False)

    def __post_init__(self) -> None:
        self._detector = StallDetector(AwakeClock(self.clock), self.runs)

    def look(self) -> list[Stalled]:
        """Act on processes that make no progress, if a check is due; return what was done."""
        began = self.clock()
        if began < self._next:
            return []
        roles = {
            status.identity: (status, role) for status in self.statuses() if (role := self.role_of(status))
        }
        self._loops = {identity: self._is_loop(identity) for identity in roles}
        loops = {identity for identity, is_loop in self._loops.items() if is_loop}
        stalls = self._detector.look((status for status, _ in roles.values()), loops)
        self._next = began + max(EVERY_S, SHARE * (self.clock() - began))
        return [
            Stalled(
                role=roles[stall.identity][1],
                pid=stall.identity.pid,
                act=stall.act,
                code=stall.code,
                reason=stall.reason,
            )
            for stall in stalls
            if self._is_meant(stall) and self.send(stall.identity, SIGNALS[stall.act])
        ]

    def _is_meant(self, stall: Stall) -> bool:
        """Whether a hanging process is still the same program: executors become apps."""
        return stall.code is not StallCode.HANGS or has_loop(self.command_line(stall.identity.pid))

    def _is_loop(self, identity: Identity) -> bool:
        # A child has its parent's arguments until it becomes its own program: a "no" is asked again.
        return self._loops.get(identity) or has_loop(self.command_line(identity.pid))
