"""Waiting for something to arrive, for whoever asks for it by a key."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager


class Arrivals:
    """Events by key: `wake` lets everyone who waits for that key look again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: defaultdict[Hashable, set[threading.Event]] = defaultdict(set)

    def __len__(self) -> int:
        """Return how many are waiting."""
        with self._lock:
            return sum(map(len, self._events.values()))

    def wake(self, key: Hashable) -> None:
        """Let everyone who waits for `key` look again."""
        with self._lock:
            for event in self._events.get(key, ()):
                event.set()

    @contextmanager
    def expecting(self, key: Hashable) -> Iterator[threading.Event]:
        """Give an event that is set at each arrival for `key` from now on."""
        event = threading.Event()
        with self._lock:
            self._events[key].add(event)
        try:
            yield event
        finally:
            with self._lock:
                self._events[key].discard(event)
                if not self._events[key]:
                    del self._events[key]

    def wait_until(
        self,
        ready: Callable[[], bool],
        key: Hashable,
        *,
        timeout_s: float,
        on_start: Callable[[threading.Event], object] = bool,
        given_up: Callable[[], bool] = lambda: False,
    ) -> None:
        """Wait until `ready()`, `given_up()`, or the timeout; both are asked again at each arrival.

        `on_start` gets the event, for others who have a reason to end the wait.
        """
        deadline = time.monotonic() + timeout_s
        with self.expecting(key) as event:
            on_start(event)
            while not (ready() or given_up()):
                left = deadline - time.monotonic()
                if left <= 0 or not event.wait(left):
                    return
                event.clear()
