"""How long to pause between two questions for work."""

import threading
import time
from collections.abc import Callable

SHARE = 0.1
"""A pause is at most this part of the time that has passed since there was work."""


class Pace:
    """Pauses that are short while there is work, and grow to the longest the longer there is none.

    A pause is counted from one question to the next, so that a question that was held at the server for as
    long is followed by the next at once. Stands in for the module `time` where Flower uses its `sleep` only.

    Parameters
    ----------
    idle_s : float
        The pause that is asked for when there was no work, and the longest that is made.
    shortest_s : float, optional
        The pause right after work; as long as `idle_s` without.
    arrival : threading.Event, optional
        Set when something arrives; it ends each pause of another length than `idle_s`.
    """

    def __init__(
        self,
        *,
        idle_s: float,
        shortest_s: float | None = None,
        arrival: threading.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._idle_s = idle_s
        self._shortest_s = idle_s if shortest_s is None else shortest_s
        self._arrival = arrival or threading.Event()
        self._clock = clock
        self._sleep = sleep
        self._asked = clock()
        self._worked = clock() - idle_s / SHARE

    def worked(self) -> None:
        """Say that there was work just now."""
        self._worked = self._clock()

    def sleep(self, seconds: float) -> None:
        """Pause as long as is asked for, or shorter."""
        if seconds != self._idle_s:
            self.worked()
            self._arrival.wait(seconds)
            self._arrival.clear()
            return
        pause = min(self._idle_s, max(self._shortest_s, SHARE * (self._clock() - self._worked)))
        self._sleep(max(0.0, self._asked + pause - self._clock()))
        self._asked = self._clock()
