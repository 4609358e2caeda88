"""Slow down whoever guesses tokens, by address."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

FREE_TRIES: Final = 3
"""People mistype."""
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 16.0
FORGOTTEN_AFTER_S: Final = 600.0
MOST_ADDRESSES: Final = 1024
IPV6_PREFIX: Final = 64
"""A machine with IPv6 has a whole network of addresses."""


@dataclass(slots=True)
class _Tries:
    wrong: int = 0
    last: float = 0.0
    until: float = 0.0


@dataclass(slots=True)
class Attempts:
    """Wrong tokens by address. After the third in a row the address waits: 1 s, then 2, 4, up to 16.

    Who sends another one meanwhile is not compared at all, so that guessing in parallel gains nothing.
    """

    clock: Callable[[], float] = time.monotonic
    _tries: OrderedDict[str, _Tries] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._tries)

    def pause_s(self, address: str) -> float:
        """Return how long an address must wait before its token is compared; 0 for no wait."""
        found = self._tries.get(_network(address))
        return max(0.0, found.until - self.clock()) if found else 0.0

    def note(self, address: str, *, right: bool) -> None:
        """Note how a token was; the oldest address is forgotten where there are too many."""
        network, now = _network(address), self.clock()
        found = self._tries.pop(network, None)
        if right:
            return
        if found is None or now - found.last > FORGOTTEN_AFTER_S:
            found = _Tries()
        found.wrong = min(found.wrong + 1, FREE_TRIES + 10)
        if found.wrong >= FREE_TRIES:
            found.until = now + min(FIRST_PAUSE_S * 2 ** (found.wrong - FREE_TRIES), LONGEST_PAUSE_S)
        found.last = now
        self._tries[network] = found
        if len(self._tries) > MOST_ADDRESSES:
            self._tries.popitem(last=False)


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped or ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False))
    return str(parsed)
