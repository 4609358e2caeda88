"""Distances between updates, and Krum's scores of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from oneflower.aggregation.blocks import BLOCK, Rows, blocks
from oneflower.aggregation.updates import NDArray, Update

Distances = npt.NDArray[np.float64]

LARGEST_PRODUCT = 1 << 18
"""Multiplications in one matrix product. OpenBLAS calls its threads for more, and these wait for each other
by spinning: on a machine with other work the product then takes twenty times as long."""

LONGEST_DOT = 8_192
"""Values in one dot product, for the same reason."""

TRUSTED_SHARE = 0.01
"""Below this share of ||x||^2 + ||y||^2 their difference is not taken from inner products."""


def krum_scores(distances: Distances, num_malicious: int) -> Distances:
    """Return for each candidate the sum of its n - f - 2 smallest squared distances to the others.

    At least one neighbour counts where there is one: Bulyan's last selections have as few as 2f + 1
    candidates left.
    """
    count = len(distances)
    neighbours = max(1, count - num_malicious - 2)
    others = distances[~np.eye(count, dtype=bool)].reshape(count, count - 1)
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
    centre. What pairs are left are squared from their own difference. Measured error: below 1e-7.

    BatchNorm's batch counters are left out: they would outweigh the weights by orders of magnitude and
    say only how many examples a client has.
    """
    columns = [
        [update.arrays[name].reshape(-1) for update in updates]
        for name, array in updates[0].arrays.items()
        if not is_counter(name, array)
    ]
    with np.errstate(over="ignore", invalid="ignore"):
        distances, doubtful = _distances_around(columns, len(updates), 0)
        if doubtful.sum() > 2 * len(updates):
            centre = int(np.argmax(doubtful.sum(axis=0)))
            distances, doubtful = _distances_around(columns, len(updates), centre)
        pairs = np.argwhere(np.triu(doubtful))
        for (i, j), square in zip(pairs, _squares_of_differences(columns, pairs), strict=True):
            distances[i, j] = distances[j, i] = square
    np.fill_diagonal(distances, 0.0)
    return distances


def _distances_around(
    columns: Sequence[Rows], count: int, centre: int
) -> tuple[Distances, npt.NDArray[np.bool_]]:
    """Return the distances, and which of them have lost their digits."""
    order = [centre, *(i for i in range(count) if i != centre)]
    products = np.zeros((count, count))
    for column in columns:
        products[np.ix_(order, order)] += _products([column[i] for i in order])
    squares = np.diagonal(products)
    sums = squares[:, None] + squares[None, :]
    distances: Distances = sums - (products + products.T)
    # NaN is doubtful; two updates that both equal the centre are not.
    doubtful = ~(distances > TRUSTED_SHARE * sums) & (sums != 0)
    np.fill_diagonal(doubtful, val=False)
    return distances, doubtful


def _products(column: Rows) -> Distances:
    """Return the inner products of the rows' differences from the first."""
    count, size = len(column), column[0].size
    depth = max(min(_depth(count), size), 1)
    width = depth * max(min(BLOCK // depth, 4 * LARGEST_PRODUCT // count**2), 1)
    work = _work_dtype(column[0].dtype)
    scratch = np.empty((count, min(_padded(size, depth), width)), work)
    products = np.zeros((count, count))
    for block in blocks(size, width):
        length = block.stop - block.start
        part = scratch[:, : _padded(length, depth)]
        for row, difference in zip(column, part, strict=True):
            np.subtract(row[block], column[0][block], out=difference[:length], dtype=work)
        part[:, length:] = 0
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


def _squares_of_differences(columns: Sequence[Rows], pairs: npt.NDArray[np.intp]) -> Distances:
    squares = np.zeros(len(pairs))
    for column in columns if len(pairs) else ():
        work = _work_dtype(column[0].dtype)
        for block in blocks(column[0].size, LONGEST_DOT):
            for index, (i, j) in enumerate(pairs):
                difference = np.subtract(column[i][block], column[j][block], dtype=work)
                squares[index] += difference @ difference
    return squares


def _work_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return float32 for float32 and all that fits in it, else float64."""
    return np.dtype(np.float32 if np.can_cast(dtype, np.float32) else np.float64)
