"""Krum, and the distances that Bulyan shares."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from oneflower.aggregation.blocks import blocks, require_one_form
from oneflower.aggregation.bounds import require
from oneflower.aggregation.updates import Aggregate, NDArray, Update, ordered

Distances = npt.NDArray[np.float64]

SCRATCH_VALUES = 1 << 17
"""float64 values of scratch: 1 MiB, half of a core's L2 cache or so."""

TRUSTED_SHARE = 1e-8
"""Below this share of ||x||^2 + ||y||^2, a difference of them has lost half of float64's digits."""


def krum(updates: Iterable[Update], num_malicious: int) -> Aggregate:
    """Return the update whose n - f - 2 nearest others are nearest to it.

    Blanchard et al. 2017, "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent",
    section 4: s(i) = sum over i -> j of ||V_i - V_j||^2. Ties go to the first in the fixed order.

    Raises
    ------
    AggregationError
        There are fewer than 2f + 3 updates, or they are not of one form.
    """
    candidates = ordered(updates)
    require("Krum", candidates, num_malicious)
    scores = krum_scores(squared_distances(candidates), num_malicious)
    chosen = candidates[int(np.argmin(scores))]
    return Aggregate(arrays=chosen.arrays, used=(chosen,))


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
    """Return ||x_i - x_j||^2 over all arrays of the model, in float64; shape (n, n), zero diagonal.

    The inner products are taken of differences from the first update. Where two updates are so near one
    another, or the first so far from both, that subtracting the products would cancel, their distance is
    computed again from their own difference. BatchNorm's batch counters are left out: they would outweigh
    the weights by orders of magnitude and say only how many examples a client has.

    Raises
    ------
    AggregationError
        The updates are not of one form.
    """
    require_one_form(updates)
    names = [name for name, array in updates[0].arrays.items() if not is_counter(name, array)]
    columns = [[update.arrays[name].reshape(-1) for update in updates] for name in names]
    with np.errstate(over="ignore", invalid="ignore"):
        products = _products_of_differences(columns, len(updates))
        squares = np.diagonal(products)
        sums = squares[:, None] + squares[None, :]
        distances: Distances = sums - 2 * products
        doubtful = np.triu(~(distances > TRUSTED_SHARE * sums), k=1)
        for i, j in np.argwhere(doubtful):
            distances[i, j] = distances[j, i] = _squared_distance(columns, i, j)
    np.fill_diagonal(distances, 0.0)
    return distances


def _products_of_differences(columns: Sequence[Sequence[NDArray]], count: int) -> Distances:
    size = max(SCRATCH_VALUES // count, 1)
    size = min(size, max((column[0].size for column in columns), default=1))
    scratch = np.zeros((count, max(size, 1)))
    products = np.zeros((count, count))
    for column in columns:
        for block in blocks(column[0].size, size):
            part = scratch[:, : block.stop - block.start]
            for row, difference in zip(column, part, strict=True):
                np.subtract(row[block], column[0][block], out=difference, dtype=np.float64)
            products += part @ part.T
    return products


def _squared_distance(columns: Sequence[Sequence[NDArray]], i: int, j: int) -> float:
    total = 0.0
    for column in columns:
        for block in blocks(column[i].size):
            difference = np.subtract(column[i][block], column[j][block], dtype=np.float64)
            total += float(difference @ difference)
    return total
