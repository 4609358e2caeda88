"""Sorting and selection networks: sort the clients' values at each coordinate, many coordinates at a time.

A comparator (i, j) puts the smaller value on wire i and the larger on wire j. As two NumPy calls over a
block it sorts thousands of coordinates at once, where a sort along the short axis of clients cannot use
the processor's vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from oneflower.aggregation.updates import NDArray

Int32s = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Comparator:
    """Compare two wires, and compute only what a later step needs."""

    low: int
    high: int
    keep_low: bool = True
    keep_high: bool = True


@cache
def sorting_network(size: int) -> tuple[Comparator, ...]:
    """Return a network that sorts `size` wires: Batcher's merge exchange (Knuth vol. 3, 5.2.2M)."""
    comparators = []
    top = 1 << max((size - 1).bit_length() - 1, 0)
    stride = top
    while stride:
        width, remainder, distance = top, 0, stride
        while True:
            comparators += [
                Comparator(i, i + distance) for i in range(size - distance) if i & stride == remainder
            ]
            if width == stride:
                break
            distance, width, remainder = width - stride, width >> 1, stride
        stride >>= 1
    return tuple(comparators)


@cache
def selection_network(size: int, start: int, stop: int) -> tuple[Comparator, ...]:
    """Return a network that puts the values of rank start to stop - 1, in some order, on those wires.

    It is the sorting network without the work that only orders values within the kept group, or within
    one of the tails, or that ends on a wire which nobody reads.
    """
    groups = [int(wire >= start) + int(wire >= stop) for wire in range(size)]
    needed = [group == 1 for group in groups]
    untouched = [True] * size
    kept: list[Comparator] = []
    for step in reversed(sorting_network(size)):
        i, j = step.low, step.high
        only_orders = untouched[i] and untouched[j] and groups[i] == groups[j]
        if only_orders or not (needed[i] or needed[j]):
            continue
        kept.append(Comparator(i, j, needed[i], needed[j]))
        needed[i] = needed[j] = True
        untouched[i] = untouched[j] = False
    return tuple(reversed(kept))


class Wires:
    """Scratch memory in which a network runs over one block after the other.

    Parameters
    ----------
    count
        Number of wires, one a client.
    size
        Largest number of coordinates in a block.
    dtype
        A float dtype.
    """

    def __init__(self, count: int, size: int, dtype: np.dtype[Any]) -> None:
        self._buffers = [np.empty(size, dtype) for _ in range(count + 1)]

    def run(self, network: Sequence[Comparator], rows: Sequence[NDArray]) -> list[NDArray]:
        """Return the wires after the network; the rows are read, never written.

        A wire that no comparator wrote is the client's own row. The others are scratch, valid until the
        next call. NaN spreads to what it is compared with, at its own coordinate only.
        """
        wires = list(rows)
        owned = [False] * len(wires)
        free = [buffer[: rows[0].size] for buffer in self._buffers]
        for step in network:
            i, j = step.low, step.high
            left, right = wires[i], wires[j]
            low = free.pop() if step.keep_low else None
            if low is not None:
                np.minimum(left, right, out=low)
            if step.keep_high:
                wires[j] = np.maximum(left, right, out=right if owned[j] else free.pop())
            elif owned[j]:
                free.append(right)
            if owned[i]:
                free.append(left)
            wires[i] = left if low is None else low
            owned[i], owned[j] = step.keep_low, step.keep_high
        return wires


@dataclass(frozen=True, slots=True)
class Program:
    """A network as the compiled kernel runs it.

    Attributes
    ----------
    steps
        One comparator a row: the two wires that are read, and those that are written, -1 for neither. Wires
        below the number of clients are the clients' own, which are only read.
    wires
        Where each wire of the network is at the end.
    scratch
        How many wires of scratch memory it needs.
    """

    steps: Int32s
    wires: Int32s
    scratch: int


def program_of(count: int, network: Sequence[Comparator]) -> Program:
    """Return the program of a network of `count` wires; scratch is used again as `Wires.run` does."""
    wires, free, steps = list(range(count)), list(range(2 * count, count - 1, -1)), []
    for step in network:
        left, right = wires[step.low], wires[step.high]
        low = free.pop() if step.keep_low else -1
        high = -1
        if step.keep_high:
            high = right if right >= count else free.pop()
            wires[step.high] = high
        elif right >= count:
            free.append(right)
        if left >= count:
            free.append(left)
        wires[step.low] = low if step.keep_low else left
        steps.append((left, right, low, high))
    return Program(np.array(steps, np.int32).reshape(-1, 4), np.array(wires, np.int32), count + 1)
