"""How many calls each SuperNode has open: those that are read, worked on, or held.

Flower has 1,000 threads for calls, and a call takes one as soon as its headers are there. The headers are
signed, so whose a call is is known before a thread waits for its request.
"""

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from oneflower.flower.v1_25.fleet_limits import RefusedError

MOST_CALLS: Final = 900
"""Of 1,000 threads (grpc.py:104); a call that is refused needs one for a moment."""
MOST_OF_ONE: Final = 10
"""Flower's SuperNode has four: two objects (constant.py:165), a question for work, a heartbeat. After a
broken connection the old ones stay until they are noticed."""
SHARE: Final = 20
"""One key may have a twentieth of what is free. So those with many calls leave room for those with none."""


@dataclass(slots=True)
class OpenCalls:
    """Count the open calls of each key, and refuse those above its share."""

    _number: int = 0
    _of_key: Counter[bytes] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __len__(self) -> int:
        """Return how many are open."""
        with self._lock:
            return self._number

    def begin(self, key: bytes) -> None:
        """Count another call of a key.

        Raises
        ------
        RefusedError
            The key has its share of calls already, or all together have all.
        """
        with self._lock:
            free = MOST_CALLS - self._number
            if free <= 0:
                raise RefusedError(f"{MOST_CALLS} calls are open, which is the limit; try again")
            most = max(1, min(MOST_OF_ONE, free // SHARE))
            if self._of_key[key] >= most:
                raise RefusedError(f"{most} calls of this SuperNode are open, which is its limit; try again")
            self._of_key[key] += 1
            self._number += 1

    def end(self, key: bytes) -> None:
        """Count a call no longer."""
        with self._lock:
            self._number -= 1
            self._of_key[key] -= 1
            if not self._of_key[key]:
                del self._of_key[key]
