"""One call at a time works on the SuperLink's database, and what must not wait goes first.

SQLite has one writer, and Python runs one thread at a time. Hundreds of threads that try both at once take
longer for each call the more there are: they wait for the database's lock in pauses that grow, and a
heartbeat waits with them.
"""

import heapq
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final


class Rank(IntEnum):
    """Who goes first: those of a lower number, and of the same number whoever came first."""

    HEARTBEAT = 0
    """A node whose heartbeat is late counts as gone."""
    SERVERAPP = 1
    """One process, for which all nodes wait."""
    MESSAGE = 2
    """Questions, messages and replies, which are short."""
    OBJECT = 3
    """The arrays: nearly all calls, and all of the bytes."""


class Lane:
    """A lock that is handed on by rank, then by the order of arrival; whoever has it may take it again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[int, int, threading.Lock]] = []
        self._arrived = 0
        self._owner: int | None = None
        self._busy = False

    def is_mine(self) -> bool:
        """Whether the calling thread has the lane."""
        return self._owner == threading.get_ident()

    @contextmanager
    def turn(self, rank: Rank) -> Iterator[None]:
        """Wait for the lane, and have it for the time of a `with`."""
        if self.is_mine():
            yield
            return
        self._take(rank)
        self._owner = threading.get_ident()
        try:
            yield
        finally:
            self._owner = None
            self._hand_on()

    def _take(self, rank: Rank) -> None:
        with self._lock:
            self._arrived += 1
            number = self._arrived
            if not self._busy:
                self._busy = True
                return
            mine = threading.Lock()
            mine.acquire()
            heapq.heappush(self._waiting, (rank, number, mine))
        mine.acquire()

    def _hand_on(self) -> None:
        with self._lock:
            if self._waiting:
                heapq.heappop(self._waiting)[2].release()
            else:
                self._busy = False


LANE: Final = Lane()
"""That of this process: a SuperLink has one database."""
