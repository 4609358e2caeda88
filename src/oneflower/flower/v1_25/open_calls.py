"""How many calls each SuperNode has open: those that are read, worked on, held, or whose answer it leaves.

A call takes a thread as soon as its headers are there. The headers are
signed, so whose a call is is known before a thread waits for its request.
"""

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from oneflower.flower.v1_25.fleet_limits import RefusedError

MOST_CALLS: Final = 3000
"""Of 3,300 threads (`fleet_calls.THREADS`); a call that is refused needs one for a moment."""
MOST_SPARE: Final = 200
"""Threads beside those, for heartbeats alone: without them a node counts as gone while it sends its model."""
MOST_OF_ONE: Final = 10
"""Flower's SuperNode has four: two objects (constant.py:165), a question for work, a heartbeat. After a
broken connection the old ones stay until they are noticed."""
SHARE: Final = 20
"""One key may have a twentieth of what is free. So those with many calls leave room for those with none."""


@dataclass(slots=True)
class OpenCalls:
    """Count the calls of each key, and the threads that work on calls, and refuse what is above a share.

    A call needs a thread until it is answered. It counts for its key until the answer was read.

    Parameters
    ----------
    most, most_of_one
        Calls of all keys together, and of one.
    """

    most: int = MOST_CALLS
    most_of_one: int = MOST_OF_ONE
    _threads: int = 0
    _of_key: Counter[bytes] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, key: bytes) -> None:
        """Count another call of a key.

        Raises
        ------
        RefusedError
            The key has its share of calls already, or all together have all threads.
        """
        with self._lock:
            free = self.most - self._threads
            if free <= 0:
                raise RefusedError(f"{self.most} calls are open, which is the limit; try again")
            most = max(1, min(self.most_of_one, free // SHARE))
            if self._of_key[key] >= most:
                raise RefusedError(f"{most} calls of this SuperNode are open, which is its limit; try again")
            self._of_key[key] += 1
            self._threads += 1

    def answered(self) -> None:
        """Count one thread less."""
        with self._lock:
            self._threads -= 1

    def end(self, key: bytes) -> None:
        """Count a call no longer."""
        with self._lock:
            self._of_key[key] -= 1
            if not self._of_key[key]:
                del self._of_key[key]
