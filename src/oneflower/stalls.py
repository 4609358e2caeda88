"""Detect processes that are stopped or hang. Pure: process states and the clock are passed in.

A process in state T (SIGSTOP) does nothing until it gets SIGCONT. The programs with a loop (SuperLink,
SuperNode, executors) wake their main thread many times a minute. If it has not run for minutes, the process
hangs, even if another thread still sends heartbeats.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from oneflower.codes import StallAct, StallCode
from oneflower.procfs import Identity, ProcessStatus

STOPPED: Final = "T"
# Uninterruptible sleep in the kernel: the process waits for a disk and cannot be killed either.
WAITING_FOR_DISK: Final = "D"
STOPPED_S: Final = 10.0
FORGIVEN_S: Final = 60.0
HUNG_S: Final = 180.0
LONGEST_STEP_S: Final = 25.0


class AwakeClock:
    """A clock that counts only the seconds in which its owner was running.

    If two readings are further apart than the owner's longest wait, the owner itself was stopped, suspended
    or starved of CPU. It has observed nothing in that time, so the gap does not count.
    """

    def __init__(self, clock: Callable[[], float], *, longest_step_s: float = LONGEST_STEP_S) -> None:
        self._clock = clock
        self._longest_step_s = longest_step_s
        self._last = clock()
        self._awake_s = 0.0

    def __call__(self) -> float:
        """Return the seconds since the start, without the gaps."""
        now = self._clock()
        step_s = now - self._last
        self._last = now
        if 0.0 <= step_s <= self._longest_step_s:
            self._awake_s += step_s
        return self._awake_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """A process that makes no progress, what to do about it, and why."""

    identity: Identity
    act: StallAct
    code: StallCode
    reason: str


@dataclass(slots=True)
class StallDetector:
    """Detects stalled processes from repeated observations.

    A stopped process is continued after ``STOPPED_S``; if it is still stopped, or stopped again within
    ``FORGIVEN_S``, it is ended. A process whose loop has not run for ``HUNG_S`` is ended. ``runs`` returns
    how often the main thread of a process was scheduled; None if that cannot be read.
    """

    clock: Callable[[], float]
    runs: Callable[[int], int | None]
    _stopped: dict[Identity, float] = field(default_factory=dict)
    _continued: dict[Identity, float] = field(default_factory=dict)
    _ran: dict[Identity, tuple[int, float]] = field(default_factory=dict)

    def look(self, statuses: Iterable[ProcessStatus], loops: Collection[Identity]) -> list[Stall]:
        """Return the stalled processes; ``loops`` are those whose main thread runs all the time."""
        now, found, seen = self.clock(), [], set()
        for status in statuses:
            seen.add(status.identity)
            if status.state == STOPPED:
                stall = self._look_stopped(status, now)
            else:
                self._stopped.pop(status.identity, None)
                if now - self._continued.get(status.identity, now) > FORGIVEN_S:
                    del self._continued[status.identity]
                stall = self._look_loop(status, now) if status.identity in loops else None
            if stall is not None:
                found.append(stall)
        for known in (self._stopped, self._continued, self._ran):
            for identity in known.keys() - seen:
                del known[identity]
        return found

    def _look_stopped(self, status: ProcessStatus, now: float) -> Stall | None:
        self._ran.pop(status.identity, None)
        since = self._stopped.setdefault(status.identity, now)
        if now - since < STOPPED_S:
            return None
        self._stopped[status.identity] = now
        if status.identity in self._continued:
            reason = "it was stopped by a signal (SIGSTOP), and once more after it was continued"
            return Stall(
                identity=status.identity, act=StallAct.ENDED, code=StallCode.STOPPED_AGAIN, reason=reason
            )
        self._continued[status.identity] = now
        reason = f"it was stopped by a signal (SIGSTOP) for {now - since:.0f} s"
        return Stall(identity=status.identity, act=StallAct.CONTINUED, code=StallCode.STOPPED, reason=reason)

    def _look_loop(self, status: ProcessStatus, now: float) -> Stall | None:
        runs = self.runs(status.identity.pid)
        before = self._ran.get(status.identity)
        if runs is None or status.state == WAITING_FOR_DISK or before is None or before[0] != runs:
            self._ran[status.identity] = (-1 if runs is None else runs, now)
            return None
        if now - before[1] < HUNG_S:
            return None
        self._ran[status.identity] = (runs, now)
        reason = f"it hangs: its main thread has not run once in {now - before[1]:.0f} s"
        return Stall(identity=status.identity, act=StallAct.ENDED, code=StallCode.HANGS, reason=reason)
