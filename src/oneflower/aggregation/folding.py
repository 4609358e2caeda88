"""The streaming mean: each update is added to sums in fixed point when it comes, in whatever order.

An array's sums are int64. Integer addition has no rounding, so that every order gives the same sums, and an
update that was added can be taken out again without a trace. float32 and float16 arrays are summed; others
are kept as they came, and their mean is that of `mean.weighted_mean`.
"""

import math
import mmap
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from oneflower.aggregation.blocks import BLOCK, PIECE, Allocate, Combined, blocks, new_array, walk
from oneflower.aggregation.compiled import kernel
from oneflower.aggregation.mean import weighted_mean
from oneflower.aggregation.norms import Kind, change_norm, kinds_of
from oneflower.aggregation.updates import Arrays, NDArray, Ordered, Update

BITS: Final = 57
"""A summand is below 2^57 of its quantum: 64 of the largest fit, and many more of usual ones."""
FEWER_BITS: Final = 37
"""For rounds whose sums may not fit."""
HEADROOM: Final = 22
"""How many powers of two above the model's largest value the summands num-examples * value usually are."""
RANGE: Final = 28
"""Powers of two that one accumulator covers, counted in the largest summand of an update."""
SMALLEST_MODEL: Final = -20
"""Exponent that stands for a model whose values are smaller, or all 0."""
LARGEST_SUM: Final = 1 << 63

Sums = npt.NDArray[np.int64]


def is_folded(array: NDArray) -> bool:
    """Return whether the mean of an array is summed while updates come."""
    return array.dtype.kind == "f" and array.dtype.itemsize <= 4


def folded_bytes(model: Arrays) -> int:
    """Return how much of a model is summed while updates come."""
    return sum(array.nbytes for array in model.values() if is_folded(array))


@dataclass(slots=True)
class _Accumulator:
    """The sums of one array. One list of sums for each range of magnitudes: nearly always one in all.

    `anchor` follows from the model that was sent, `top` is the exponent below which a range's summands are.
    """

    size: int
    anchor: int
    bits: int
    sums: dict[int, Sums] = field(default_factory=dict)
    bounds: dict[int, int] = field(default_factory=dict)

    def add(self, values: NDArray, num_examples: float, sign: int = 1) -> None:
        """Add an update's values, or take them out again."""
        largest = _largest(values)
        if not largest:
            return
        exponent = math.frexp(largest)[1] + math.frexp(num_examples)[1]
        base = self.anchor + HEADROOM
        top = base - (base - exponent) // RANGE * RANGE
        sums = self.sums.get(top)
        if sums is None:
            sums = self.sums[top] = _zeros(self.size)
        self.bounds[top] = self.bounds.get(top, 0) + sign * (1 << max(0, self.bits - (top - exponent)))
        factor = sign * math.ldexp(num_examples, self.bits - top)
        compiled = kernel()
        for part in walk(values, PIECE):
            if not (compiled and compiled.fold(values[part], factor, sums[part])):
                fold(values[part], factor, sums[part])

    def fits(self) -> bool:
        """Return whether no sum can have left 64 bits."""
        return all(bound < LARGEST_SUM for bound in self.bounds.values())

    def mean_into(self, out: NDArray, total: float) -> None:
        """Fill `out` with the sums divided by `total`; the memory of the sums is given back on the way."""
        mantissa, exponent = math.frexp(total)
        tops = sorted(
            (top for top in self.sums if self.bounds[top]), reverse=True
        )  # of the others all is taken out
        if not tops:
            out.fill(0)
            return
        scales = [math.ldexp(1.0, top - self.bits - exponent) for top in tops]
        compiled = kernel() if len(tops) == 1 else None
        for piece in blocks(self.size, PIECE):
            parts = [self.sums[top][piece] for top in tops]
            if not (compiled and compiled.settle(parts[0], scales[0], mantissa, out[piece])):
                settle(parts, scales, mantissa, out[piece])
            for part in parts:
                _give_back(part)
        self.sums.clear()


class Folding:
    """The sums of one attempt of a round.

    Parameters
    ----------
    model
        What the clients were sent.
    """

    def __init__(self, model: Arrays, bits: int = BITS) -> None:
        self._model = model
        self._kinds = kinds_of(model)
        self._sums = {
            name: _Accumulator(array.size, _anchor(array), bits)
            for name, array in model.items()
            if is_folded(array)
        }
        self._added: dict[int, Update] = {}
        self._norms: dict[int, dict[Kind, float]] = {}

    def add(self, update: Update, *, measured: bool = True) -> None:
        """Add an update that has passed every check; `measured` takes the norms of its change, too."""
        if measured:
            self._norms[update.client] = {
                kind: change_norm(update, self._model, names) for kind, names in self._kinds.items()
            }
        self._apply(update, 1)
        self._added[update.client] = update

    def norm(self, update: Update, kind: Kind) -> float:
        """Return the norm of an update's change that was taken when it came."""
        return self._norms[update.client][kind]

    @property
    def changes(self) -> Mapping[int, float]:
        """The norms of the changes of the weights, by client."""
        return {client: norms[Kind.WEIGHTS] for client, norms in self._norms.items()}

    def mean(self, updates: Ordered, allocate: Allocate = new_array) -> Combined:
        """Return the mean of these updates, as `mean.weighted_mean` does; the sums are used up.

        An update that is not the one that was added, because it was bounded, takes the place of that one.
        The result is the sum of rint(n_k * x * 2^s) in float64, divided by the sum of all n_k, rounded once
        more to the array's dtype; 2^s is such that the largest summand has `BITS` - `RANGE` bits or more.
        """
        self._replace_by(updates)
        if not all(each.fits() for each in self._sums.values()):
            return self._smaller(updates).mean(updates, allocate)
        total = math.fsum(update.num_examples for update in updates)
        rest = self._rest(updates, allocate)
        model = {}
        for name, array in self._model.items():
            model[name] = rest.model[name] if name in rest.model else allocate(name, array)
            if name in self._sums:
                self._sums.pop(name).mean_into(model[name].reshape(-1), total)
        folded = {name for name, array in model.items() if array.size} - set(rest.model)
        return Combined(model, rest.finite | folded)

    def _apply(self, update: Update, sign: int) -> None:
        for name, sums in self._sums.items():
            sums.add(update.arrays[name].reshape(-1), update.num_examples, sign)

    def _replace_by(self, updates: Ordered) -> None:
        wanted = {update.client: update for update in updates}
        for client, update in list(self._added.items()):
            if wanted.get(client) is not update:
                self._apply(self._added.pop(client), -1)
        for client, update in wanted.items():
            if client not in self._added:
                self.add(update, measured=False)

    def _smaller(self, updates: Ordered) -> "Folding":
        """Add all again with fewer bits: their sums are larger than 64 bits hold."""
        self._sums.clear()
        smaller = Folding(self._model, FEWER_BITS)
        for update in updates:
            smaller.add(update, measured=False)
        return smaller

    def _rest(self, updates: Ordered, allocate: Allocate) -> Combined:
        """Return the mean of the arrays that are not summed."""
        names = [name for name in self._model if name not in self._sums]
        if not names:
            return Combined({}, frozenset())
        parts = (replace(each, arrays={name: each.arrays[name] for name in names}) for each in updates)
        return weighted_mean(Ordered(tuple(parts)), allocate)


def _anchor(array: NDArray) -> int:
    largest = _largest(array.reshape(-1))
    return max(math.frexp(largest)[1], SMALLEST_MODEL) if largest else SMALLEST_MODEL


def _largest(values: NDArray) -> float:
    compiled, largest = kernel(), 0.0
    for part in walk(values, PIECE):
        found = compiled.largest(values[part]) if compiled else None
        largest = max(largest, float(np.abs(values[part]).max()) if found is None else found)
    return largest


def fold(values: NDArray, factor: float, sums: Sums) -> None:
    """Add rint(values * factor), at most 2^57 each."""
    for block in blocks(values.size):
        product = values[block].astype(np.float64)
        np.multiply(product, factor, out=product)
        sums[block] += np.rint(product, out=product).astype(np.int64)


def settle(parts: list[Sums], scales: list[float], total: float, out: NDArray) -> None:
    """Set out = (the sum of parts * scales) / total, in float64 and rounded once more."""
    for block in blocks(out.size):
        whole = parts[0][block].astype(np.float64) * scales[0]
        for part, scale in zip(parts[1:], scales[1:], strict=True):
            np.add(whole, part[block].astype(np.float64) * scale, out=whole)
        out[block] = np.divide(whole, total, out=whole)


def _zeros(size: int) -> Sums:
    """Return zeros, of the system where they are many: such memory can be given back a part at a time."""
    if size < BLOCK:
        return np.zeros(size, np.int64)
    memory = mmap.mmap(-1, 8 * size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError, AttributeError):  # a system without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.int64)


def _give_back(sums: Sums) -> None:
    """Give the memory of a part of `_zeros` back: its values are lost."""
    memory = sums
    while isinstance(memory.base, np.ndarray):
        memory = memory.base
    if isinstance(memory.base, mmap.mmap):
        offset = sums.__array_interface__["data"][0] - memory.__array_interface__["data"][0]
        if offset % mmap.PAGESIZE == 0:
            memory.base.madvise(mmap.MADV_DONTNEED, offset, sums.nbytes)
