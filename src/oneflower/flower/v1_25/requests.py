"""Read a request for so long and no longer, and not too many of one network at once.

A caller that sends headers and nothing else would hold a thread for good, and one that does not read its
response the memory for that.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

from oneflower.flower.peers import network_of
from oneflower.flower.v1_25.fleet_limits import RefusedError

READ_S: Final = 120.0
"""A chunk of 5 MB at 350 kbit/s."""
TAKE_S: Final = 180.0
"""For the response of a call that is answered; that of a question for work is small, and has `LATE_S`."""
LATE_S: Final = 10.0
"""After that a caller holds up no other any longer, as long as it has to itself."""
LOOK_S: Final = 5.0
MOST_UNREAD: Final = 2500
"""Of the 3,300 threads, where anybody may make a key. One network has half of them at most: the others have
the rest."""


@dataclass(slots=True)
class _Begun:
    """A call that has begun, and since when its caller is waited for: not while it waits for its turn."""

    context: Any
    late: Callable[[], object]
    since: float
    patience_s: float


@dataclass(slots=True)
class Requests:
    """The calls that are under way; those that take too long are cancelled by a thread.

    Parameters
    ----------
    by_network : bool
        Whether one network may have no more requests that are being read than are left for all others. That
        is for calls with keys that anybody may make; those of known keys are counted by `OpenCalls`.
    """

    by_network: bool = True
    clock: Callable[[], float] = time.monotonic
    _begun: dict[int, _Begun] = field(default_factory=dict)
    _unread: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _watched: bool = False

    def begin(
        self, context: Any, end: Callable[[], object], *, late: Callable[[], object] = lambda: None
    ) -> None:
        """Watch a call; call `end` when it is over: its response was read, or the caller is gone.

        `late` is called, perhaps several times, when its caller has been waited for for `LATE_S` seconds.
        """
        key = id(context)
        with self._lock:
            self._begun[key] = _Begun(context, late, self.clock(), READ_S)
            self._watch()

        def over() -> None:
            with self._lock:
                del self._begun[key]
            end()

        if not context.add_callback(over):
            over()

    @contextmanager
    def reading(self, context: Any) -> Iterator[None]:
        """Count a call while its request is read.

        Raises
        ------
        RefusedError
            Too many of the same network are read already.
        """
        network, begun = network_of(context.peer()), self._begun.get(id(context))
        with self._lock:
            most = max(1, MOST_UNREAD - sum(self._unread.values()))
            if self.by_network and self._unread[network] >= most:
                raise RefusedError(f"{most} requests of this network have not arrived yet; try again")
            self._unread[network] += 1
        try:
            yield
        finally:
            if begun is not None:
                begun.since = inf
            with self._lock:
                self._unread[network] -= 1
                if not self._unread[network]:
                    del self._unread[network]

    def answered(self, context: Any, patience_s: float = TAKE_S) -> None:
        """Count the time in which the caller takes the response of a call, from now."""
        begun = self._begun.get(id(context))
        if begun is not None:
            begun.since, begun.patience_s = self.clock(), patience_s

    def cancel_slow(self) -> int:
        """Cancel the calls that have not come to their end in time; return how many."""
        now = self.clock()
        with self._lock:
            waited = [(now - begun.since, begun) for begun in self._begun.values()]
        slow = [begun.context for seconds, begun in waited if seconds > begun.patience_s]
        for seconds, begun in waited:
            if seconds > LATE_S:
                begun.late()
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
