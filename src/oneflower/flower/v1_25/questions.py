"""Questions without an answer yet: each is answered when there is one. Those for work wait without a thread.

A thousand idle SuperNodes are a thousand open calls. With a thread for each, those that transfer arrays wait
for a thread; with an answer at once, each node asks again and again.
"""

import heapq
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from oneflower.newest import Newest

SHORTEST_S: Final = 3.0
"""Flower's own pause between two questions: start_client_internal.py:264."""
LONGEST_S: Final = 30.0
"""A proxy on the way may end a call that is silent for a minute."""
A_SECOND: Final = 30.0
"""About how many questions a second are answered for nothing: each costs 2 ms of a processor."""
MOST_ANSWERED: Final = 200
"""How many are answered at once: a thread waits until the node has taken its answer."""
MOST_WAITING: Final = 32
"""ServerApps that wait for replies, each in a thread; there is one a run."""


class Why(Enum):
    """Why a question is answered now."""

    FOUND = "something has arrived"
    ENDED = "the time is up"
    REPLACED = "the node has asked again"


class HeldError(Exception):
    """There is no work for a node: its question may wait.

    Parameters
    ----------
    node_id : int
        The node that has asked.
    """

    def __init__(self, node_id: int) -> None:
        super().__init__(f"no work for node {node_id}")
        self.node_id = node_id


@dataclass(slots=True)
class _Held:
    node_id: int
    ends: float
    resume: Callable[[Why], object]
    is_over: bool = False


@dataclass(slots=True)
class Questions:
    """Waiting questions by node, the newest of each: whoever asks twice has lost the first connection.

    Parameters
    ----------
    clock : callable
        Seconds that only grow.
    """

    clock: Callable[[], float] = time.monotonic
    _held: dict[int, _Held] = field(default_factory=dict)
    _by_end: list[tuple[float, int, _Held]] = field(default_factory=list)
    _arrivals: int = 0
    _arrived: "Newest[int, int]" = field(default_factory=Newest)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _pool: ThreadPoolExecutor | None = None
    _local: threading.local = field(default_factory=threading.local)

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._held)

    @contextmanager
    def patient(self) -> Iterator[int]:
        """Let a question that this thread works on meanwhile wait; give the number of the last arrival."""
        self._local.may_wait = True
        try:
            yield self._arrivals
        finally:
            self._local.may_wait = False

    def may_wait(self) -> bool:
        """Whether the question that this thread works on may wait."""
        return getattr(self._local, "may_wait", False)

    def ends(self) -> float:
        """Return when a question that comes now has waited long enough: later where many nodes ask."""
        return self.clock() + min(LONGEST_S, max(SHORTEST_S, len(self._held) / A_SECOND))

    def hold(
        self, node_id: int, *, since: int, ends: float, resume: Callable[[Why], object]
    ) -> Callable[[], None]:
        """Let a question wait until something arrives for its node after `since`, or until `ends`.

        Parameters
        ----------
        resume : callable
            Called once, in a thread that may wait.

        Returns
        -------
        callable
            Forgets the question: its caller is gone.
        """
        held = _Held(node_id, ends, resume)
        with self._changed:
            self._start()
            self._take(node_id, Why.REPLACED)
            self._held[node_id] = held
            self._arrivals += 1
            heapq.heappush(self._by_end, (ends, self._arrivals, held))
            if self._arrived.get(node_id, 0) > since:
                self._take(node_id, Why.FOUND)
            if self._by_end[0][2] is held:
                self._changed.notify()

        def forget() -> None:
            with self._changed:
                held.is_over = True
                if self._held.get(node_id) is held:
                    del self._held[node_id]

        return forget

    def wake(self, node_id: int) -> None:
        """Let the question of a node be answered: something has arrived for it."""
        with self._changed:
            self._arrivals += 1
            self._arrived[node_id] = self._arrivals
            self._take(node_id, Why.FOUND)

    def end_due(self) -> float | None:
        """Answer the questions whose time is up; return for how many seconds none will be, None for ever."""
        with self._changed:
            while self._by_end:
                ends, _, held = self._by_end[0]
                if not held.is_over and ends > self.clock():
                    return ends - self.clock()
                heapq.heappop(self._by_end)
                if not held.is_over:
                    self._take(held.node_id, Why.ENDED)
        return None

    def _take(self, node_id: int, why: Why) -> None:
        """Answer the question of a node, if there is one."""
        held = self._held.pop(node_id, None)
        if held is not None and self._pool is not None:
            held.is_over = True
            self._pool.submit(held.resume, why)

    def _start(self) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(MOST_ANSWERED, thread_name_prefix="questions")
            threading.Thread(target=self._look, name="questions", daemon=True).start()

    def _look(self) -> None:
        while True:
            with self._changed:
                self._changed.wait(self.end_due())


class Replies:
    """Counts what may be a reply, and lets who waits look again."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting = 0
        self.number = 0

    def came(self) -> None:
        """Say that a reply may be there."""
        with self._changed:
            self.number += 1
            if self._waiting:
                self._changed.notify_all()

    def wait(self, since: int, timeout_s: float) -> bool:
        """Wait until something has come after `since`; return False at once where too many wait."""
        with self._changed:
            if self._waiting >= MOST_WAITING:
                return False
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: self.number > since, timeout_s)
            finally:
                self._waiting -= 1
        return True


QUESTIONS: Final = Questions()
REPLIES: Final = Replies()
"""Those of this process."""
