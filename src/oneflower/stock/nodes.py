"""Node ids that stay the same over all starts: an app's own loop sees these, messages go to Flower's.

The id of a partition's node is its partition and a constant, as in a simulation: an app that sorts its nodes
by id has the same order in each start of a training, in each training, and under `oneflower simulate`.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

from oneflower.flower.who import UNKNOWN, Identity, order

FIRST_ID: Final = 1000
"""The id of partition 0, as `LocalGrid` has it."""
_BY_NAME: Final = 1 << 60
_BY_NUMBER: Final = 1 << 61
_TWIN: Final = 1 << 40
"""Between the ids of nodes that say the same of themselves."""
_NAME_BITS: Final = 36


class StableNodes:
    """Which stable id stands for which of Flower's ids, as long as that node is online."""

    def __init__(self) -> None:
        self._real: dict[int, int] = {}
        """Stable to Flower's."""

    def update(self, online: Iterable[int], identities: Mapping[int, Identity]) -> list[int]:
        """Take up who is online, and return their stable ids, ascending.

        Two nodes that say the same of themselves have different ids, and neither takes the other's: what a
        client says is not proven. The id of one that has gone is free for the next that says the same.
        """
        there = set(online)
        self._real = {stable: real for stable, real in self._real.items() if real in there}
        known = set(self._real.values())
        for real in order(there - known, identities):
            self._real[self._free(identities.get(real, UNKNOWN))] = real
        return sorted(self._real)

    def real(self, stable: int) -> int | None:
        """Return Flower's id of a node; None where it is not online."""
        return self._real.get(stable)

    def there(self) -> set[int]:
        """Return the stable ids of the nodes that were online when it was last looked."""
        return set(self._real)

    def _free(self, identity: Identity) -> int:
        stable = first_id(identity)
        while stable in self._real:
            stable += _TWIN
        return stable


def first_id(identity: Identity) -> int:
    """Return the id of the first node that says so of itself."""
    if identity.partition is not None:
        return FIRST_ID + identity.partition
    if identity.name:
        digest = hashlib.sha256(identity.name.encode()).digest()
        return _BY_NAME + int.from_bytes(digest[:8], "big") % (1 << _NAME_BITS)
    return _BY_NUMBER
