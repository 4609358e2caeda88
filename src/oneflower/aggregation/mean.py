"""Means: of updates weighted by examples, and of rows of values."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from oneflower.aggregation.blocks import Allocate, BlockRule, Combined, Rows, Whole, combine, new_array
from oneflower.aggregation.compiled import kernel
from oneflower.aggregation.updates import NDArray, Ordered


def weighted_mean(updates: Ordered, allocate: Allocate = new_array, whole: Whole | None = None) -> Combined:
    """Average at least one update, each weighted by its share of the examples.

    McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data",
    algorithm 1: w = sum_k (n_k / n) w_k. The shares are computed in float64, the products and sums in the
    arrays' own dtype: no partial sum exceeds the largest of the clients' values by more than a rounding.
    `whole` does more than the mean in one pass of the compiled kernel.
    """
    shares, joined = shares_of(updates), whole is None
    if whole is None and (compiled := kernel()):
        whole = compiled.mean(shares)
    return combine(
        updates, lambda size, dtype: mean_rule(shares, size, dtype), allocate, whole, joined=joined
    )


def shares_of(updates: Ordered) -> list[float]:
    """Return each update's share of the examples."""
    total = float(sum(update.num_examples for update in updates))
    return [update.num_examples / total for update in updates]


def mean_rule(shares: Sequence[float], size: int, dtype: np.dtype[Any]) -> BlockRule:
    """Return the rule out = sum_i shares[i] * rows[i]."""
    factors = [dtype.type(share) for share in shares]
    scratch = np.empty(size, dtype)

    def apply(rows: Rows, out: NDArray) -> None:
        product = scratch[: out.size]
        np.multiply(rows[0], factors[0], out=out)
        for row, factor in zip(rows[1:], factors[1:], strict=True):
            np.multiply(row, factor, out=product)
            np.add(out, product, out=out)

    return apply


def mean_of(rows: Rows, out: NDArray) -> None:
    """Fill `out` with the plain mean of the rows, finite wherever all of them are."""
    _sum_of(rows, out)
    np.divide(out, out.dtype.type(len(rows)), out=out)
    if not np.isfinite(out).all():  # the sum overflowed, the mean cannot: divide first
        _sum_of([row / out.dtype.type(len(rows)) for row in rows], out)


def _sum_of(rows: Rows, out: NDArray) -> None:
    np.copyto(out, rows[0])
    for row in rows[1:]:
        np.add(out, row, out=out)
