"""Which process of a SuperNode speaks for a key, and when two of them do."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from oneflower.flower.peers import is_connected

SILENT_S: Final = 35.0
"""A live SuperNode sends a heartbeat every 30 s: flwr/common/constant.py, HEARTBEAT_DEFAULT_INTERVAL."""
RETURNS: Final = 2
RETURNS_WITHIN_S: Final = 120.0
MOST_KEYS: Final = 10_000
_MOST_LEFT: Final = 4


@dataclass(slots=True)
class _Seen:
    """What was seen of a key: the connection of its last call and when that was; connections before it.

    ``refused`` is set while another process was refused and this one has not spoken again.
    """

    peer: str
    at: float
    left: deque[str] = field(default_factory=lambda: deque(maxlen=_MOST_LEFT))
    returns: deque[float] = field(default_factory=lambda: deque(maxlen=RETURNS))
    refused: bool = False


class Presence:
    """Follow the calls of each key, which Flower has verified.

    A process that was killed has left its connection closed, or is silent longer than any live one is. A
    process that is still connected and not silent is alive: whoever wants to take its place is refused. If
    the process speaks again after that, or two connections speak in turns, two processes use one key.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        connected: Callable[[str], bool] = is_connected,
    ) -> None:
        self._clock = clock
        self._connected = connected
        self._lock = threading.Lock()
        self._seen: OrderedDict[bytes, _Seen] = OrderedDict()

    def heard(self, key: bytes, peer: str) -> bool:
        """Note a call; return whether it shows that two processes use the key."""
        now = self._clock()
        with self._lock:
            seen = self._seen.get(key)
            if seen is None:
                self._remember(key, _Seen(peer=peer, at=now))
                return False
            seen.at = now
            if peer == seen.peer:
                was_refused, seen.refused = seen.refused, False
                return was_refused
            return self._moved(seen, peer, now)

    def may_take_over(self, key: bytes, peer: str) -> bool:
        """Whether the process at ``peer`` may speak for a key from now on.

        It may where it is the one that spoke last, or where that one is gone.
        """
        now = self._clock()
        with self._lock:
            seen = self._seen.get(key)
            # One that spoke before this SuperLink was started may be gone: if it is not, both will be heard.
            if seen is None or seen.peer == peer or now - seen.at >= SILENT_S:
                return True
            if not self._connected(seen.peer):
                return True
            seen.refused = True
            return False

    def took_over(self, key: bytes, peer: str) -> None:
        """Note that another process speaks for a key from now on."""
        with self._lock:
            before = self._seen.pop(key, None)
            taken = _Seen(peer=peer, at=self._clock())
            if before is not None and before.peer != peer:
                taken.left.append(before.peer)
            self._remember(key, taken)

    def _moved(self, seen: _Seen, peer: str, now: float) -> bool:
        """Note a call over another connection: a new one after a broken one, or one that was left before."""
        is_return = peer in seen.left
        if is_return:
            seen.left.remove(peer)
            seen.returns.append(now)
        seen.left.append(seen.peer)
        seen.peer, seen.refused = peer, False
        recent = [at for at in seen.returns if now - at < RETURNS_WITHIN_S]
        return is_return and len(recent) >= RETURNS

    def _remember(self, key: bytes, seen: _Seen) -> None:
        self._seen[key] = seen
        self._seen.move_to_end(key)
        while len(self._seen) > MOST_KEYS:
            self._seen.popitem(last=False)
