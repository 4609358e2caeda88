"""Coordinate-wise trimmed mean."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from oneflower.aggregation.blocks import Allocate, BlockRule, Rows, combine, new_array
from oneflower.aggregation.bounds import require
from oneflower.aggregation.errors import AggregationError
from oneflower.aggregation.networks import Wires, selection_network
from oneflower.aggregation.updates import Aggregate, NDArray, Update, ordered


def trimmed_mean(updates: Iterable[Update], beta: float, *, allocate: Allocate = new_array) -> Aggregate:
    """Average each coordinate without its floor(beta * n) least and greatest values.

    Yin et al. 2018, "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates",
    definition 2. `num_examples` is ignored: it is a number that an attacker may choose. With n below
    1 / beta nothing is trimmed and the result is the plain mean.

    Parameters
    ----------
    updates
        At least one.
    beta
        Fraction cut from each tail, in [0, 0.5).

    Raises
    ------
    AggregationError
        There is no update, the updates are not of one form, or beta is out of its bounds.
    """
    used = ordered(updates)
    require("FedTrimmedAvg", used)
    if not 0 <= beta < 0.5:
        raise AggregationError(
            f"beta is {beta}; expected 0 <= beta < 0.5, or nothing is left: set FL_TRIM_BETA"
        )
    count, cut = len(used), int(beta * len(used))
    return Aggregate(
        arrays=combine(used, lambda size, dtype: trimmed_rule(count, cut, size, dtype), allocate),
        used=tuple(used),
    )


def trimmed_rule(count: int, cut: int, size: int, dtype: np.dtype[Any]) -> BlockRule:
    """Return the rule out = mean of the rows' values of rank cut to count - cut - 1."""
    network = selection_network(count, cut, count - cut) if cut else ()
    wires = Wires(count if cut else 0, size, dtype)

    def apply(rows: Rows, out: NDArray) -> None:
        mean_of(wires.run(network, rows)[cut : count - cut], out)

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
