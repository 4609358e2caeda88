"""Bulyan: Krum iterated to select, then a mean around the median of each coordinate."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from oneflower.aggregation.blocks import BlockRule, Rows, combine
from oneflower.aggregation.bounds import require
from oneflower.aggregation.krum import Distances, krum_scores, squared_distances
from oneflower.aggregation.networks import Wires, sorting_network
from oneflower.aggregation.trimmed import mean_of
from oneflower.aggregation.updates import Aggregate, NDArray, Update, ordered


def bulyan(updates: Iterable[Update], num_malicious: int) -> Aggregate:
    """Select theta = n - 2f updates by iterated Krum; average the theta - 2f values nearest each median.

    El Mhamdi et al. 2018, "The Hidden Vulnerability of Distributed Learning in Byzantium", section 4.
    Of two values equally far from the median the smaller is taken.

    Raises
    ------
    AggregationError
        There are fewer than 4f + 3 updates, or they are not of one form.
    """
    candidates = ordered(updates)
    require("Bulyan", candidates, num_malicious)
    theta = len(candidates) - 2 * num_malicious
    used = [candidates[i] for i in iterated_krum(squared_distances(candidates), num_malicious, theta)]
    return Aggregate(
        arrays=combine(used, lambda size, dtype: bulyan_rule(theta, num_malicious, size, dtype)),
        used=tuple(used),
    )


def iterated_krum(distances: Distances, num_malicious: int, count: int) -> list[int]:
    """Return, in ascending order, the candidates that Krum picks when each pick is taken out in turn."""
    remaining = list(range(len(distances)))
    selected = []
    for _ in range(count):
        scores = krum_scores(distances[np.ix_(remaining, remaining)], num_malicious)
        selected.append(remaining.pop(int(np.argmin(scores))))
    return sorted(selected)


def bulyan_rule(count: int, num_malicious: int, size: int, dtype: np.dtype[Any]) -> BlockRule:
    """Return the rule out = mean of the count - 2f values nearest the median, for each coordinate.

    Among sorted values the nearest k form a window. Starting with the k least, the window moves up while
    the value that would enter is nearer the median than the one that would leave; as the distances only
    grow, each step can be decided by itself.
    """
    nearest = count - 2 * num_malicious
    network = sorting_network(count) if nearest < count else ()
    wires = Wires(count if network else 0, size, dtype)
    median, above, below = (np.empty(size, dtype) for _ in range(3))
    nearer = np.empty(size, np.bool_)

    def apply(rows: Rows, out: NDArray) -> None:
        ranked = wires.run(network, rows)
        middle, entering, leaving, moves = (part[: out.size] for part in (median, above, below, nearer))
        if network:
            _median_of(ranked, middle)
        for step in range(count - nearest):
            np.subtract(ranked[step + nearest], middle, out=entering)
            np.subtract(middle, ranked[step], out=leaving)
            np.less(entering, leaving, out=moves)
            np.copyto(ranked[step % nearest], ranked[step + nearest], where=moves)
        mean_of(ranked[:nearest], out)

    return apply


def _median_of(ranked: Rows, out: NDArray) -> None:
    half = len(ranked) // 2
    if len(ranked) % 2:
        np.copyto(out, ranked[half])
    else:  # halved first: the sum of two large values would overflow
        np.add(ranked[half - 1] * out.dtype.type(0.5), ranked[half] * out.dtype.type(0.5), out=out)
