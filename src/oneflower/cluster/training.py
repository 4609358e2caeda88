"""Submit the app, have its run watched, and submit it again when it was lost."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from oneflower.journal import Event, JournalTail
from oneflower.cluster.keeper import Keeper, SuperLinkDied
from oneflower.cluster.local import LocalCluster
from oneflower.cluster.watch import AppFailed, RunLost, Watch
from oneflower.errors import TrainingError
from oneflower.flower.fab import Fab
from oneflower.journal import Journal

POLL_S = 0.2
TEND_EVERY_S = 1.0
LOOK_EVERY_S = 2.0
LONGEST_DELAY_S = 30.0


@dataclass(slots=True, kw_only=True)
class Training:
    """One training on a cluster that runs, until it has finished or failed.

    ``on_event`` gets every event of the journal, also those of earlier starts.
    """

    cluster: LocalCluster
    fab: Fab
    run_config: Mapping[str, Any]
    max_restarts: int
    journal: Journal
    on_event: Callable[[Event], None]
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def run(self) -> Event | None:
        """Train to the end; return the journal's ``training_finished``, None for an app that writes none.

        Raises
        ------
        TrainingError
            The training failed, or was lost too often in a row without a completed round.
        OneflowerError
            Of another kind, when the ServerApp ended with it (AppError: its data do not fit).
        """
        restarts, failure = 0, ""
        with JournalTail(self.journal.path) as tail:
            while True:
                watch = self._submit()
                try:
                    self._follow(watch, tail)
                except (RunLost, SuperLinkDied) as error:
                    restarts = 1 if watch.rounds else restarts + 1
                    self._give_up(error, restarts, again=not watch.rounds and str(error) == failure)
                    failure = str(error)
                    self._reboot(failure, restarts)
                else:
                    return watch.ending

    def _submit(self) -> Watch:
        run_id = self.cluster.control.submit(self.fab.content, self.run_config)
        self.journal.append("run_submitted", run=run_id, app=self.fab.id)
        return Watch(run_id=run_id, cluster=self.cluster, clock=self.clock)

    def _follow(self, watch: Watch, tail: JournalTail) -> None:
        """Return when the run has finished well; every other end is an exception."""
        keeper = Keeper(cluster=self.cluster, journal=self.journal, clock=self.clock)
        next_tend = next_look = self.clock()
        try:
            while True:
                self._drain(watch, tail)
                now = self.clock()
                if now >= next_tend:
                    next_tend = now + TEND_EVERY_S
                    keeper.tend()
                if now >= next_look or watch.ending:
                    next_look = now + LOOK_EVERY_S
                    if watch.look():
                        return
                self.sleep(POLL_S)
        finally:
            self._drain(watch, tail)

    def _drain(self, watch: Watch, tail: JournalTail) -> None:
        for event in tail.drain():
            watch.take(event)
            self.on_event(event)

    def _give_up(self, error: Exception, restarts: int, *, again: bool) -> None:
        """Raise when another try makes no sense."""
        if isinstance(error, AppFailed) and again:
            raise TrainingError(
                f"the app failed twice in the same way: {error}\n{self.cluster.tails()}"
            ) from error
        if restarts > self.max_restarts:
            raise TrainingError(
                f"gave up after {self.max_restarts} restarts in a row without a completed round "
                f"(FL_MAX_RESTARTS). The last reason: {error}\n{self.cluster.tails()}"
            ) from error

    def _reboot(self, reason: str, restarts: int) -> None:
        """Boot the whole cluster anew: one way back from every loss, with no stale node and no stale run."""
        delay_s = min(2.0 ** (restarts - 1), LONGEST_DELAY_S) if restarts > 1 else 0.0
        self.journal.append("training_lost", reason=reason, restarts=restarts, delay_s=delay_s)
        self.cluster.stop(grace_s=0.0)
        self.sleep(delay_s)
        self.cluster.start()
