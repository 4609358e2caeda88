"""Where a supervisor works: beside a SuperLink that somebody else keeps running, or that a cluster boots."""

import time
from collections.abc import Callable
from typing import Final, Protocol

from oneflower.errors import ClusterError
from oneflower.flower.control import ControlClient
from oneflower.recovery.processes import FlowerProcesses

POLL_S: Final = 0.5
REMIND_EVERY_S: Final = 30.0


class Place(Protocol):
    """The SuperLink that trains."""

    @property
    def control(self) -> ControlClient:
        """The Control API of the SuperLink as it runs now."""
        ...

    def bring_up(self, *, anew: bool) -> None:
        """Return when the SuperLink answers; ``anew`` asks for another one than the one that runs.

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

    A hung one, or one without its executor, is ended with a signal, and comes back. Where its processes
    cannot be seen (another PID namespace, another user) it is only waited for.
    """

    def __init__(
        self,
        control: ControlClient,
        processes: FlowerProcesses,
        *,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.control = control
        self._processes = processes
        self._say = say
        self._clock = clock
        self._sleep = sleep

    def bring_up(self, *, anew: bool) -> None:
        """Wait until the SuperLink answers, for ever and visibly."""
        if anew and not self._processes.end_superlink():
            self._say("the SuperLink cannot be ended from here (another PID namespace?): waiting for it")
        began = remind = self._clock()
        while (problem := self._problem()) is not None:
            if self._clock() >= remind:
                waited_s = self._clock() - began
                self._say(f"waiting for the SuperLink since {waited_s:.0f} s: {problem}")
                remind += REMIND_EVERY_S
            self._sleep(POLL_S)

    def tend(self) -> None:
        """Look after nothing: the SuperLink's parent does."""

    def tails(self) -> str:
        """Return nothing: the SuperLink's log is its parent's."""
        return ""

    def _problem(self) -> str | None:
        try:
            self.control.runs()
        except ClusterError as error:
            return str(error)
        return None
