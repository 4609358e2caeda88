"""Keep what is beside the SuperLink alive: a process that dies is started again, each time a little later."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from oneflower.errors import OneflowerError
from oneflower.journal import Journal
from oneflower.journal.events import ProcessDied, ProcessStarted
from oneflower.kinds import may_pass
from oneflower.local_cluster.local import SUPERLINK, LocalCluster

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 30.0
# A node that has lived this long is healthy again: its next death is its first.
HEALTHY_AFTER_S = 120.0


@dataclass(slots=True)
class Backoff:
    """How long to wait before the next start of one process."""

    delay_s: float = 0.0
    last_start: float = 0.0

    def next_start(self, now: float) -> float:
        """Return when to start it again, after a death just seen."""
        healthy = now - self.last_start > HEALTHY_AFTER_S
        longer_s = min(2 * self.delay_s, LONGEST_DELAY_S)
        self.delay_s = FIRST_DELAY_S if healthy or not self.delay_s else longer_s
        self.last_start = now + self.delay_s
        return self.last_start


@dataclass(slots=True, kw_only=True)
class ProcessRestarter:
    """Look after the processes of a cluster; ``tend`` is to be called about once a second."""

    cluster: LocalCluster
    journal: Journal
    clock: Callable[[], float] = time.monotonic
    _backoffs: dict[str, Backoff] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)

    def tend(self) -> None:
        """Restart the processes that are due; the SuperLink itself is the supervisor's business."""
        for stalled in self.cluster.stalled():
            self.journal.append(stalled.event)
        now = self.clock()
        for death in self.cluster.deaths():
            if death.role == SUPERLINK:
                continue
            if death.role not in self._due:
                self._later(death.role, death.reason, now)
                self.cluster.forget(death.role)
        for role in [role for role, when in self._due.items() if when <= now]:
            self._restart(role, now)

    def _later(self, role: str, reason: str, now: float) -> None:
        self._due[role] = self._backoffs.setdefault(role, Backoff()).next_start(now)
        self.journal.append(ProcessDied(role=role, reason=reason))

    def _restart(self, role: str, now: float) -> None:
        """Start it again, or later where the system has no process, memory or disk for it now."""
        try:
            self.cluster.restart(role)
        except (OneflowerError, OSError) as error:
            if not may_pass(error):
                raise
            self._later(role, f"it cannot be started: {error}", now)
            return
        del self._due[role]
        self.journal.append(ProcessStarted(role=role))
