"""Krum, and the distances that Bulyan shares."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from oneflower.aggregation.blocks import BLOCK, Rows, blocks, require_one_form
from oneflower.aggregation.bounds import require
from oneflower.aggregation.updates import Aggregate, NDArray, Update, ordered

Distances = npt.NDArray[np.float64]

TRUSTED_SHARE = 0.01
"""Below this share of ||x||^2 + ||y||^2 their difference is not taken from inner products."""


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
    """Return ||x_i - x_j||^2 over all arrays of the model; shape (n, n), zero diagonal.

    It is taken from the inner products of DIFFERENCES from the first update, where the weights that all
    updates share have cancelled exactly or nearly so, summed in float64. Where a pair is so near, or the
    first update so far from both, that the products would cancel in turn (an attacker can arrange that,
    or an overflow), the pair's own difference is squared instead. Measured error: below 1e-7.

    BatchNorm's batch counters are left out: they would outweigh the weights by orders of magnitude and
    say only how many examples a client has.

    Raises
    ------
    AggregationError
        The updates are not of one form.
    """
    require_one_form(updates)
    columns = [
        [update.arrays[name].reshape(-1) for update in updates]
        for name, array in updates[0].arrays.items()
        if not is_counter(name, array)
    ]
    with np.errstate(over="ignore", invalid="ignore"):
        products = _products_of_differences(columns, len(updates))
        squares = np.diagonal(products)
        sums = squares[:, None] + squares[None, :]
        distances: Distances = sums - 2 * products
        doubtful = np.argwhere(np.triu(~(distances > TRUSTED_SHARE * sums), k=1))
        for (i, j), square in zip(doubtful, _squares_of_differences(columns, doubtful), strict=True):
            distances[i, j] = distances[j, i] = square
    np.fill_diagonal(distances, 0.0)
    return distances


def _products_of_differences(columns: Sequence[Rows], count: int) -> Distances:
    products = np.zeros((count, count))
    for column in columns:
        scratch = np.empty((count, min(column[0].size, BLOCK)), _work_dtype(column[0].dtype))
        for block in blocks(column[0].size):
            part = scratch[:, : block.stop - block.start]
            for row, difference in zip(column, part, strict=True):
                np.subtract(row[block], column[0][block], out=difference, dtype=scratch.dtype)
            products += part @ part.T
    return products


def _squares_of_differences(columns: Sequence[Rows], pairs: npt.NDArray[np.intp]) -> Distances:
    squares = np.zeros(len(pairs))
    for column in columns if len(pairs) else ():
        work = _work_dtype(column[0].dtype)
        for block in blocks(column[0].size):
            for index, (i, j) in enumerate(pairs):
                difference = np.subtract(column[i][block], column[j][block], dtype=work)
                squares[index] += difference @ difference
    return squares


def _work_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return float32 for float32 and all that fits in it, else float64."""
    return np.dtype(np.float32 if np.can_cast(dtype, np.float32) else np.float64)
