"""Distances between updates, and Krum's scores of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from oneflower.aggregation.blocks import BLOCK, Rows, blocks
from oneflower.aggregation.compiled import kernel
from oneflower.aggregation.updates import NDArray, Update

Distances = npt.NDArray[np.float64]

LARGEST_PRODUCT = 1 << 18
"""Multiplications in one matrix product. OpenBLAS calls its threads for more, and these wait for each other
by spinning: on a machine with other work the product then takes twenty times as long."""

LONGEST_DOT = 8_192
"""Values in one dot product, for the same reason."""

TRUSTED_SHARE = 0.01
"""Below this share of ||x||^2 + ||y||^2 their difference is not taken from inner products."""

ORDINARY = 2.0**512
"""A squared distance between 1 / ORDINARY and ORDINARY leaves float64 room for others on both sides."""

SHRINK, STRETCH = 2.0**-640, 2.0**665
"""Factors of differences whose squares are above ORDINARY, and below 1 / ORDINARY: whatever float64 holds of
these, the products are then within 2^820 and 2^-820."""


def krum_scores(distances: Distances, num_malicious: int) -> Distances:
    """Return for each candidate the sum of its n - f - 2 smallest squared distances to the others.

    At least one neighbour counts where there is one: Bulyan's last selections have as few as 2f + 1
    candidates left.
    """
    count = len(distances)
    neighbours = max(1, count - num_malicious - 2)
    others = distances[~np.eye(count, dtype=bool)].reshape(count, count - 1)
    with np.errstate(over="ignore"):  # infinite is the score of who is that far
        scores: Distances = np.sort(others, axis=1)[:, :neighbours].sum(axis=1)
    return scores


def is_counter(name: str, array: NDArray) -> bool:
    """Return whether this array counts batches rather than being a part of the model."""
    return name.endswith("num_batches_tracked") and array.dtype.kind in "iu"


def squared_distances(updates: Sequence[Update]) -> Distances:
    """Return ||x_i - x_j||^2 over all arrays of the model; shape (n, n), zero diagonal.

    It is taken from the inner products of DIFFERENCES from one update, the centre, where the weights that
    all updates share have cancelled; products are summed in float64. Pairs that are much nearer one
    another than the centre would cancel in turn. An attacker who is the centre can bring that about, or
    an overflow: then the update with the most such pairs, one of the honest majority, becomes the
    centre. What pairs are left are squared from their own difference. The measured error is in
    docs/aggregation.md.

    float32 cannot hold the squares of differences above 1e19 and loses digits of those below 1e-18: such
    pairs are computed in float64. Of float64 arrays, where the squares leave float64 for the majority, ALL
    distances are multiplied by one power of two, which leaves their order and their ratios as they are.
    What is still too large then is infinite: it is more than 1e30 times as far as the majority.

    BatchNorm's batch counters are left out: they would outweigh the weights by orders of magnitude and
    say only how many examples a client has.
    """
    columns = [
        [update.arrays[name].reshape(-1) for update in updates]
        for name, array in updates[0].arrays.items()
        if not is_counter(name, array)
    ]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        distances = _distances(columns, len(updates), Arithmetic())
        if _out_of_range(distances, columns).any():
            distances = _over_all_scales(distances, columns)
    return distances


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How differences are taken: in which dtype, and times which power of two."""

    wide: bool = False
    factor: float = 1.0

    def dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """Return float32 for float32 and all that fits in it, unless this is wide; else float64."""
        return np.dtype(np.float32 if not self.wide and np.can_cast(dtype, np.float32) else np.float64)

    def subtract(self, row: NDArray, other: NDArray, out: NDArray) -> None:
        """Set out = (row - other) * factor; a factor below 1 comes first: the difference may overflow."""
        if self.factor < 1:
            np.subtract(row * self.factor, other * self.factor, out=out, dtype=out.dtype)
            return
        np.subtract(row, other, out=out, dtype=out.dtype)
        if self.factor != 1:
            np.multiply(out, self.factor, out=out)


def _distances(columns: Sequence[Rows], count: int, arithmetic: Arithmetic) -> Distances:
    distances, doubtful = _distances_around(columns, count, 0, arithmetic)
    if doubtful.sum() > 2 * count:
        centre = int(np.argmax(doubtful.sum(axis=0)))
        distances, doubtful = _distances_around(columns, count, centre, arithmetic)
    pairs = np.argwhere(np.triu(doubtful))
    squares = _squares_of_differences(columns, pairs, arithmetic)
    for (i, j), square in zip(pairs, squares, strict=True):
        distances[i, j] = distances[j, i] = square
    np.fill_diagonal(distances, 0.0)
    return distances


def _out_of_range(distances: Distances, columns: Sequence[Rows]) -> npt.NDArray[np.bool_]:
    """Return which distances have overflowed, or are so small that underflow may have cost digits.

    Each product may be wrong by half of the smallest number of its dtype. 2^30 of these are a digit of 1e-9.
    """
    work = Arithmetic()
    least = 2.0**30 * sum(
        column[0].size * float(np.finfo(work.dtype(column[0].dtype)).smallest_subnormal) for column in columns
    )
    beyond: npt.NDArray[np.bool_] = ~((distances >= least) & np.isfinite(distances))
    np.fill_diagonal(beyond, val=False)
    return beyond


def _over_all_scales(distances: Distances, columns: Sequence[Rows]) -> Distances:
    """Return the distances with those that are out of range computed from numbers that can hold them."""
    count = len(distances)
    equal = _equal(columns, distances)
    beyond = _out_of_range(distances, columns) & ~equal
    narrow = any(Arithmetic().dtype(column[0].dtype) != np.float64 for column in columns)
    if narrow and beyond.any():
        distances = np.where(beyond, _distances(columns, count, Arithmetic(wide=True)), distances)
    scale = _scale_of_majority(distances, equal)
    if 1 / ORDINARY <= scale <= ORDINARY:
        return distances
    scaled = _distances(columns, count, Arithmetic(wide=True, factor=SHRINK if scale > 1 else STRETCH))
    return np.where(np.isnan(scaled), np.inf, scaled)


def _equal(columns: Sequence[Rows], distances: Distances) -> npt.NDArray[np.bool_]:
    """Return which updates hold the same numbers: each is compared with one of each kind found before."""
    kinds: list[int] = []
    kind_of = []
    for i in range(len(distances)):
        same = (k for k in kinds if distances[k, i] == 0 and _same_numbers(columns, k, i))
        kind = next(same, i)
        kind_of.append(kind)
        if kind == i:
            kinds.append(i)
    found = np.array(kind_of)
    equal: npt.NDArray[np.bool_] = found[:, None] == found[None, :]
    return equal


def _same_numbers(columns: Sequence[Rows], i: int, j: int) -> bool:
    return all(np.array_equal(column[i], column[j]) for column in columns)


def _scale_of_majority(distances: Distances, equal: npt.NDArray[np.bool_]) -> float:
    """Return the least squared distance at which an update has half of the others around it, 1 of none.

    Fewer than half of the updates, however they are placed, can neither lower nor raise it beyond the
    distances of the others. Equal updates say nothing of the scale.
    """
    rows = [np.sort(row[~same]) for row, same in zip(distances, equal, strict=True)]
    half = max(len(distances) // 2, 1)
    return float(min((row[min(half, len(row)) - 1] for row in rows if len(row)), default=1.0))


def _distances_around(
    columns: Sequence[Rows], count: int, centre: int, arithmetic: Arithmetic
) -> tuple[Distances, npt.NDArray[np.bool_]]:
    """Return the distances, and which of them have lost their digits."""
    order = [centre, *(i for i in range(count) if i != centre)]
    products = np.zeros((count, count))
    for column in columns:
        products[np.ix_(order, order)] += _products([column[i] for i in order], arithmetic)
    squares = np.diagonal(products)
    sums = squares[:, None] + squares[None, :]
    distances: Distances = sums - (products + products.T)
    # NaN is doubtful; two updates that both equal the centre are not.
    doubtful = ~(distances > TRUSTED_SHARE * sums) & (sums != 0)
    np.fill_diagonal(doubtful, val=False)
    return distances, doubtful


def _products(column: Rows, arithmetic: Arithmetic) -> Distances:
    """Return the inner products of the rows' differences from the first.

    The compiled kernel's and BLAS's differ by roundings: what they decide is who is selected (decision 234).
    """
    compiled, work = kernel(), arithmetic.dtype(column[0].dtype)
    if compiled and arithmetic.factor == 1 and (found := compiled.products(column, work)) is not None:
        return found
    count, size = len(column), column[0].size
    depth = max(min(_depth(count), size), 1)
    width = depth * max(min(BLOCK // depth, 4 * LARGEST_PRODUCT // count**2), 1)
    scratch = np.empty((count, min(_padded(size, depth), width)), work)
    products = np.zeros((count, count))
    for block in blocks(size, width):
        length = block.stop - block.start
        part = scratch[:, : _padded(length, depth)]
        for row, difference in zip(column, part, strict=True):
            arithmetic.subtract(row[block], column[0][block], difference[:length])
        part[:, length:] = 0
        if compiled and (found := compiled.products(part, work)) is not None:
            products += found
            continue
        # The first difference is zero. Without it the operands are two arrays, not one twice: for that
        # NumPy calls a routine of BLAS that takes threads sooner.
        tiles = part.reshape(count, -1, depth).transpose(1, 0, 2)
        products[:, 1:] += (tiles @ tiles[:, 1:].transpose(0, 2, 1)).sum(axis=0, dtype=np.float64)
    return products


def _depth(count: int) -> int:
    """Return how many coordinates go into one matrix product of `count` rows."""
    depth = LARGEST_PRODUCT // count**2
    return depth if depth >= 64 else 1_024  # too many rows for small products: threads cannot be avoided


def _padded(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _squares_of_differences(
    columns: Sequence[Rows], pairs: npt.NDArray[np.intp], arithmetic: Arithmetic
) -> Distances:
    squares = np.zeros(len(pairs))
    for column in columns if len(pairs) else ():
        scratch = np.empty(min(LONGEST_DOT, column[0].size), arithmetic.dtype(column[0].dtype))
        for block in blocks(column[0].size, LONGEST_DOT):
            difference = scratch[: block.stop - block.start]
            for index, (i, j) in enumerate(pairs):
                arithmetic.subtract(column[i][block], column[j][block], difference)
                squares[index] += difference @ difference
    return squares
