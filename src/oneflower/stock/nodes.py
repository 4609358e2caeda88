"""Node ids that stay the same over all starts: an app's own loop sees these, messages go to Flower's.

The id of a partition's node is its partition and a constant, as in a simulation: an app that sorts its nodes
by id has the same order in each start of a training, in each training, and under `oneflower simulate`.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from oneflower.flower.who import UNKNOWN, Identity, order

FIRST_ID: Final = 1000
"""The id of partition 0, as `LocalGrid` has it."""
_BY_NAME: Final = 1 << 60
_BY_NUMBER: Final = 1 << 61
_TWIN: Final = 1 << 40
"""Between the ids of nodes that say the same of themselves."""
_NAME_BITS: Final = 36
MOST_PINS: Final = 10_000

Pins = dict[str, list[object]]
"""By stable id: Flower's id of the node that had it last, its name, and whether that was given to it."""


class StableNodes:
    """Which stable id stands for which of Flower's ids, as long as that node is online.

    Parameters
    ----------
    pins : dict, optional
        Who had which id before, also before a restart; it is added to.
    """

    def __init__(self, pins: Pins | None = None) -> None:
        self._kept = {} if pins is None else pins
        self._noted: Pins = {}
        self._pins: dict[int, _Pin] = {}
        self._real: dict[int, int] = {}
        """Stable to Flower's."""

    def update(self, online: Iterable[int], identities: Mapping[int, Identity]) -> list[int]:
        """Take up who is online, and return their stable ids, ascending.

        What a client says is not proven, Flower's own id is: it is bound to the key of the SuperNode. So a
        node has the id that it had, also after a restart of this process. One that has a new id of Flower's
        gets the id of the one that had its name. Only then comes what is free: no id of a node with a name
        that its operator gave it, whether that is online or not.
        """
        there = set(online)
        self._real = {stable: real for stable, real in self._real.items() if real in there}
        if new := order(there - set(self._real.values()), identities):
            self._pins = {**_read(self._kept), **self._pins}
            self._place(new, identities)
            self._noted = {str(stable): pin.kept() for stable, pin in self._pins.items()}
        self._kept.update(self._noted)
        return sorted(self._real)

    def _place(self, new: Iterable[int], identities: Mapping[int, Identity]) -> None:
        had = {pin.node: stable for stable, pin in self._pins.items()}
        claims: tuple[Callable[[int, Identity], int | None], ...] = (
            lambda real, _: had.get(real),
            lambda _, identity: self._of_its_name(identity),
            lambda _, identity: self._free(identity),
        )
        waiting = list(new)
        for claim in claims:
            left = []
            for real in waiting:
                identity = identities.get(real, UNKNOWN)
                stable = claim(real, identity)
                if stable is None:
                    left.append(real)
                    continue
                self._real[stable] = real
                if stable in self._pins or len(self._pins) < MOST_PINS:
                    self._pins[stable] = self._pin(stable, real, identity)
            waiting = left

    def _pin(self, stable: int, real: int, identity: Identity) -> "_Pin":
        """Return who has an id from now on; a node that has not said who it is keeps the name that it had."""
        before = self._pins.get(stable)
        if before is not None and before.node == real and not identity.name:
            return before
        return _Pin(node=real, name=identity.name, named=identity.named)

    def real(self, stable: int) -> int | None:
        """Return Flower's id of a node; None where it is not online."""
        return self._real.get(stable)

    def there(self) -> set[int]:
        """Return the stable ids of the nodes that were online when it was last looked."""
        return set(self._real)

    def _of_its_name(self, identity: Identity) -> int | None:
        stable = first_id(identity)
        while (pin := self._pins.get(stable)) is not None:
            if stable not in self._real and identity.name and pin.name == identity.name:
                return stable
            stable += _TWIN
        return None

    def _free(self, identity: Identity) -> int:
        stable = first_id(identity)
        while stable in self._real or (stable in self._pins and self._pins[stable].named):
            stable += _TWIN
        return stable


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pin:
    node: int
    name: str
    named: bool

    def kept(self) -> list[object]:
        return [str(self.node), self.name, self.named]


def _read(kept: Pins) -> dict[int, _Pin]:
    """Read pins of a file or a checkpoint; what is none is left out."""
    found: dict[int, _Pin] = {}
    for stable, pin in kept.items():
        with suppress(ValueError, TypeError):
            node, name, named = pin
            found[int(stable)] = _Pin(node=int(str(node)), name=str(name), named=named is True)
    return found


def first_id(identity: Identity) -> int:
    """Return the id of the first node that says so of itself."""
    if identity.partition is not None:
        return FIRST_ID + identity.partition
    if identity.name:
        digest = hashlib.sha256(identity.name.encode()).digest()
        return _BY_NAME + int.from_bytes(digest[:8], "big") % (1 << _NAME_BITS)
    return _BY_NUMBER
