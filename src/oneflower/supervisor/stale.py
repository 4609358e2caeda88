"""What an earlier supervisor, or a SuperLink that came back, has left of a training's runs."""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from oneflower.flower.control import ControlClient, RunState
from oneflower.supervisor.processes import FlowerProcesses

log = logging.getLogger(__name__)

POLL_S: Final = 0.2
# A ServerApp whose run was stopped ends by itself; one that hangs is killed after so long.
APP_ENDS_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """Ends the runs of one training; another run of the same app is somebody else's and is left alone.

    Attributes
    ----------
    runs
        Those that were submitted for this training.
    claims
        Whether the app's runs that nobody knows are of this training, too.
    """

    app: str
    runs: Collection[int]
    claims: bool
    control: ControlClient
    processes: FlowerProcesses
    warn: Callable[[str], None]
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def end(self) -> None:
        """Stop what the SuperLink holds to be going on, and end the ServerApps."""
        mine = {*self.runs}
        for run in self.control.runs():
            if run.finished or run.app != self.app:
                continue
            if self._is_mine(run):
                self.control.stop(run.run_id)
                mine.add(run.run_id)
                log.info("stale run stopped run=%d status=%s", run.run_id, run.status)
            else:
                self.warn(
                    f"another run of {run.app}, {run.run_id}, is not of this training: it is left alone"
                )
        self._end_apps(mine)

    def _is_mine(self, run: RunState) -> bool:
        return self.claims or run.run_id in self.runs

    def _end_apps(self, mine: Collection[int]) -> None:
        deadline = self.clock() + APP_ENDS_S
        while (sight := self.processes.look()) is not None and sight.apps_of(mine):
            if self.clock() > deadline:
                log.warning("stale ServerApps killed count=%d", self.processes.end_apps(mine))
                return
            self.sleep(POLL_S)
