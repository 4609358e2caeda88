"""Where a supervisor works: beside a SuperLink that somebody else keeps running, or that a cluster boots."""

import time
from collections.abc import Callable
from typing import Final, Protocol

from oneflower.flower.control import ControlClient, ControlError
from oneflower.flower.health import Health, Stalled
from oneflower.procfs import Identity, ProcessStatus, status_of
from oneflower.supervisor.processes import FlowerProcesses, Sight

POLL_S: Final = 0.5
BROKEN_S: Final = 30.0
REMIND_EVERY_S: Final = 30.0


class Place(Protocol):
    """The SuperLink that trains."""

    @property
    def control(self) -> ControlClient:
        """The Control API of the SuperLink as it runs now."""
        ...

    def bring_up(self, *, restart: bool) -> None:
        """Return when the SuperLink answers; ``restart`` asks for another one than the one that runs.

        Raises
        ------
        ClusterError
            It cannot be brought up; it may be tried again.
        """
        ...

    def tend(self) -> None:
        """Look after the processes beside the SuperLink; called about once a second."""
        ...

    def tails(self) -> str:
        """Return the end of the SuperLink's log for the text of an error; empty where it is not ours."""
        ...


class Beside:
    """A SuperLink that a service manager starts again whenever it ends.

    One that answers with errors for ``BROKEN_S`` is ended, too: its database may be damaged, and the launcher
    makes another.

    A hung one, or one without its executor, is ended with a signal, and comes back. Where its processes
    cannot be seen (another PID namespace, another user) it is only waited for.
    """

    def __init__(  # noqa: PLR0913 - three of them are for tests
        self,
        control: ControlClient,
        processes: FlowerProcesses,
        *,
        say: Callable[[str], None],
        record: Callable[[Stalled], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.control = control
        self._processes = processes
        self._say = say
        self._clock = clock
        self._sleep = sleep
        self._record = record
        self._roles: dict[Identity, str] = {}
        self._health = Health(
            role_of=lambda status: self._roles.get(status.identity), statuses=self._statuses, clock=clock
        )

    def bring_up(self, *, restart: bool) -> None:
        """Wait until the SuperLink answers, for ever and visibly."""
        if restart and not self._processes.end_superlink():
            self._say("the SuperLink cannot be ended from here (another PID namespace?): waiting for it")
        began = remind = broken = self._clock()
        while (problem := self._problem()) is not None:
            if not problem.answered:
                broken = self._clock()
            elif self._clock() - broken > BROKEN_S:
                self._say(f"the SuperLink answers with errors: it is restarted. {problem}")
                self._processes.end_superlink()
                broken = self._clock()
            if self._clock() >= remind:
                waited_s = self._clock() - began
                self._say(f"waiting for the SuperLink since {waited_s:.0f} s: {problem}")
                remind += REMIND_EVERY_S
            self._sleep(POLL_S)

    def tend(self) -> None:
        """Continue or end what does not move; what has died is its parent's business."""
        for stalled in self._health.look():
            self._say(f"the {stalled.role} (pid {stalled.pid}) was {stalled.act}: {stalled.reason}")
            self._record(stalled)

    def _statuses(self) -> list[ProcessStatus]:
        """Return the visible processes of the SuperLink, its executors and ServerApps."""
        sight = self._processes.look() or Sight()
        roles = {
            **dict.fromkeys(sight.executors, "superexec"),
            **dict.fromkeys(sight.apps, "serverapp"),
            **({sight.superlink: "superlink"} if sight.superlink else {}),
        }
        self._roles = roles
        return [status for identity in roles if (status := status_of(identity.pid)) is not None]

    def tails(self) -> str:
        """Return nothing: the SuperLink's log is its parent's."""
        return ""

    def _problem(self) -> ControlError | None:
        try:
            self.control.runs()
        except ControlError as error:
            return error
        return None
