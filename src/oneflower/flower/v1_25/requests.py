"""Read the request of a call for so long and no longer, and not too many of one peer at once.

Flower has 1,000 threads for calls, and a call takes one as soon as its headers are there. A peer that sends
headers and nothing else would hold them all.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from oneflower.flower.v1_25.fleet_limits import RefusedError

READ_S: Final = 120.0
"""A chunk of 5 MB at 350 kbit/s."""
LOOK_S: Final = 5.0
READ_FROM_ONE_PEER: Final = 750
"""Of 1,000 threads: many SuperNodes of one site have one address."""


@dataclass(slots=True)
class Reading:
    """The calls whose request is being read; those that take too long are cancelled by a thread."""

    clock: Callable[[], float] = time.monotonic
    _since: dict[int, tuple[float, Any]] = field(default_factory=dict)
    _of_peer: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _watched: bool = False

    @contextmanager
    def of(self, context: Any) -> Iterator[None]:
        """Count a call while its request is read.

        Raises
        ------
        RefusedError
            Too many of the same peer are read already.
        """
        peer, key = peer_of(context.peer()), id(context)
        with self._lock:
            if self._of_peer[peer] >= READ_FROM_ONE_PEER:
                raise RefusedError(f"{READ_FROM_ONE_PEER} requests of this address have not arrived yet")
            self._of_peer[peer] += 1
            self._since[key] = (self.clock(), context)
            self._watch()
        try:
            yield
        finally:
            with self._lock:
                del self._since[key]
                self._of_peer[peer] -= 1
                if not self._of_peer[peer]:
                    del self._of_peer[peer]

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


def peer_of(address: str) -> str:
    """Return the address of a peer without its port: ``ipv4:10.0.0.1:4711``, ``ipv6:%5B::1%5D:4711``."""
    return address.rpartition(":")[0]
