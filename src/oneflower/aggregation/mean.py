"""Weighted mean."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from oneflower.aggregation.blocks import Allocate, BlockRule, Rows, combine, new_array
from oneflower.aggregation.bounds import require
from oneflower.aggregation.updates import Aggregate, NDArray, Update, ordered


def weighted_mean(updates: Iterable[Update], *, allocate: Allocate = new_array) -> Aggregate:
    """Average the updates, each weighted by its share of the examples.

    McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data",
    algorithm 1: w = sum_k (n_k / n) w_k. The shares are computed in float64, the products and sums in the
    arrays' own dtype: no partial sum exceeds the largest of the clients' values by more than a rounding.

    Raises
    ------
    AggregationError
        There is no update, or the updates are not of one form.
    """
    used = ordered(updates)
    require("FedAvg", used)
    total = float(sum(update.num_examples for update in used))
    shares = [update.num_examples / total for update in used]
    return Aggregate(
        arrays=combine(used, lambda size, dtype: mean_rule(shares, size, dtype), allocate), used=tuple(used)
    )


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
