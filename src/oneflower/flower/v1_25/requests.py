"""Read the request of a call for so long and no longer, and not too many of one network at once.

A caller that sends headers and nothing else would hold a thread for good.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from oneflower.flower.peers import network_of
from oneflower.flower.v1_25.fleet_limits import RefusedError

READ_S: Final = 120.0
"""A chunk of 5 MB at 350 kbit/s."""
LOOK_S: Final = 5.0
MOST_UNREAD: Final = 380
"""Of the 1,000 threads, where anybody may make a key: 500 are for calls that are held."""


@dataclass(slots=True)
class Reading:
    """The calls whose request is being read; those that take too long are cancelled by a thread.

    Parameters
    ----------
    by_network : bool
        Whether one network may have no more of them than are left for all others. That is for calls with
        keys that anybody may make; those of known keys are counted by `OpenCalls`.
    """

    by_network: bool = True
    clock: Callable[[], float] = time.monotonic
    _since: dict[int, tuple[float, Any]] = field(default_factory=dict)
    _of_network: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _watched: bool = False

    @contextmanager
    def of(self, context: Any) -> Iterator[None]:
        """Count a call while its request is read.

        Raises
        ------
        RefusedError
            Too many of the same network are read already.
        """
        network, key = network_of(context.peer()), id(context)
        with self._lock:
            most = max(1, MOST_UNREAD - len(self._since))
            if self.by_network and self._of_network[network] >= most:
                raise RefusedError(f"{most} requests of this network have not arrived yet; try again")
            self._of_network[network] += 1
            self._since[key] = (self.clock(), context)
            self._watch()
        try:
            yield
        finally:
            with self._lock:
                del self._since[key]
                self._of_network[network] -= 1
                if not self._of_network[network]:
                    del self._of_network[network]

    def cancel_slow(self) -> int:
        """Cancel the calls whose request has not come in time; return how many."""
        with self._lock:
            slow = [context for since, context in self._since.values() if self.clock() - since > READ_S]
        for context in slow:
            context.cancel()
        return len(slow)

    def _watch(self) -> None:
        if not self._watched:
            self._watched = True
            threading.Thread(target=self._look, name="slow-requests", daemon=True).start()

    def _look(self) -> None:
        while True:
            time.sleep(LOOK_S)
            self.cancel_slow()
