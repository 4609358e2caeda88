"""Restart the cluster's processes other than the SuperLink when they die, with a growing delay."""

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
# After this time a node counts as healthy: the delay after its next death is the first one.
HEALTHY_AFTER_S = 120.0


@dataclass(slots=True)
class Backoff:
    """How long to wait before the next start of one process."""

    delay_s: float = 0.0
    last_start: float = 0.0

    def next_start(self, now: float) -> float:
        """Return when to restart the process after a death."""
        healthy = now - self.last_start > HEALTHY_AFTER_S
        longer_s = min(2 * self.delay_s, LONGEST_DELAY_S)
        self.delay_s = FIRST_DELAY_S if healthy or not self.delay_s else longer_s
        self.last_start = now + self.delay_s
        return self.last_start


@dataclass(slots=True, kw_only=True)
class ProcessRestarter:
    """Watches the processes of a cluster; call ``tend`` about once a second."""

    cluster: LocalCluster
    journal: Journal
    clock: Callable[[], float] = time.monotonic
    _backoffs: dict[str, Backoff] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)

    def tend(self) -> None:
        """Restart the processes that are due, except the SuperLink, which the supervisor restarts."""
        for stalled in self.cluster.stalled():
            self.journal.append(stalled.event)
        self.cluster.cut_logs()
        now = self.clock()
        for death in self.cluster.deaths():
            if death.role == SUPERLINK:
                continue
            if death.role not in self._due:
                self._schedule(death.role, death.reason, now)
                self.cluster.forget(death.role)
        for role in [role for role, when in self._due.items() if when <= now]:
            self._restart(role, now)

    def _schedule(self, role: str, reason: str, now: float) -> None:
        self._due[role] = self._backoffs.setdefault(role, Backoff()).next_start(now)
        self.journal.append(ProcessDied(role=role, reason=reason))

    def _restart(self, role: str, now: float) -> None:
        """Restart a process; try again later if the system lacks processes, memory or disk space now."""
        try:
            self.cluster.restart(role)
        except (OneflowerError, OSError) as error:
            if not may_pass(error):
                raise
            self._schedule(role, f"it cannot be started: {error}", now)
            return
        del self._due[role]
        self.journal.append(ProcessStarted(role=role))
