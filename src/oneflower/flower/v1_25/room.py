"""How many bytes of arrays the SuperLink's calls may hold at once: those that wait are in memory, too.

A thousand nodes send and fetch two chunks of 5 MiB each at a time. A caller that is waited for keeps its room
for `requests.LATE_S` seconds, so that those who do not go on hold up no others.
"""

import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from oneflower.flower.v1_25.fleet_limits import RefusedError

CHUNK_BYTES: Final = 5 << 20
"""Flower's largest piece of an array: constant.py:153."""
MOST_BYTES: Final = 512 << 20
"""Each way."""
MOST_OF_ONE: Final = 8
"""Pieces of one key; Flower's SuperNode moves two at a time."""


class Room:
    """Bytes that are counted before they are there; whoever finds no room waits.

    Parameters
    ----------
    most : int
        Bytes. One call is let in however large it is.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._changed = threading.Condition()
        self._of_key: Counter[bytes] = Counter()
        self.used = 0

    def take(self, key: bytes) -> "Taken":
        """Wait until there is room for one piece, and have it.

        Raises
        ------
        RefusedError
            The key has, or waits for, as much as one may.
        """
        with self._changed:
            if self._of_key[key] >= MOST_OF_ONE:
                raise RefusedError(f"{MOST_OF_ONE} objects of this SuperNode are under way; try again")
            self._of_key[key] += 1
            self._changed.wait_for(lambda: not self.used or self.used + CHUNK_BYTES <= self._most)
            self.used += CHUNK_BYTES
        return Taken(partial(self._give, key))

    def _give(self, key: bytes, num_bytes: int, *, last: bool) -> None:
        with self._changed:
            self.used -= num_bytes
            if last:
                self._of_key[key] -= 1
                if not self._of_key[key]:
                    del self._of_key[key]
            self._changed.notify()


class Taken:
    """The room of one call."""

    def __init__(self, give: Callable[..., None]) -> None:
        self._give, self._bytes, self._lock = give, CHUNK_BYTES, threading.Lock()

    def shrink_to(self, num_bytes: int) -> None:
        """Give back what is above so many bytes; it never grows again."""
        with self._lock:
            given = max(0, self._bytes - num_bytes)
            self._bytes -= given
        if given:
            self._give(given, last=not self._bytes)
