"""Bulyan: Krum iterated to select, then a mean around the median of each coordinate."""

from typing import Any

import numpy as np

from oneflower.aggregation.blocks import BlockRule, Rows
from oneflower.aggregation.distances import Distances, krum_scores
from oneflower.aggregation.mean import mean_of
from oneflower.aggregation.networks import Wires, sorting_network
from oneflower.aggregation.parameter import NUM_MALICIOUS, Values
from oneflower.aggregation.spec import Aggregate, Bound, Family, Round, State, StrategySpec
from oneflower.aggregation.updates import Arrays, NDArray, Ordered


def apply(updates: Ordered, _model: Arrays, state: State, values: Values, this_round: Round) -> Aggregate:
    """Select theta = n - 2f updates by iterated Krum; average the theta - 2f values nearest each median.

    El Mhamdi et al. 2018, "The Hidden Vulnerability of Distributed Learning in Byzantium", section 4.
    Of two values equally far from the median the smaller is taken.
    """
    malicious = NUM_MALICIOUS.of(values)
    points = this_round.points(updates)
    theta = len(points) - 2 * malicious
    selected = points.only(iterated_krum(points.squared_distances(), malicious, theta))
    made = selected.combine(
        lambda size, dtype: bulyan_rule(theta, malicious, size, dtype), this_round.allocate
    )
    return Aggregate(model=made.model, state=state, used=selected.used)


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

    Among sorted values the nearest k form a window. It starts on the k least and moves up while the value
    that would enter is nearer the median than the one that would leave. As one distance only shrinks and
    the other only grows, every step can be decided by itself, for all coordinates at once.
    """
    nearest = count - 2 * num_malicious
    if nearest == count:
        return mean_of
    network, wires = sorting_network(count), Wires(count, size, dtype)
    median, entering, leaving = (np.empty(size, dtype) for _ in range(3))
    replacer = _Replacer(size, dtype)

    def apply(rows: Rows, out: NDArray) -> None:
        ranked = wires.run(network, rows)
        middle, above, below = (part[: out.size] for part in (median, entering, leaving))
        _median_of(ranked, middle)
        for step in range(count - nearest):
            np.subtract(ranked[step + nearest], middle, out=above)
            np.subtract(middle, ranked[step], out=below)
            replacer.replace(ranked[step % nearest], ranked[step + nearest], above < below)
        mean_of(ranked[:nearest], out)

    return apply


def _median_of(ranked: Rows, out: NDArray) -> None:
    half = len(ranked) // 2
    if len(ranked) % 2:
        np.copyto(out, ranked[half])
    else:  # halved first: the sum of two large values would overflow
        kind = out.dtype.type
        np.add(ranked[half - 1] * kind(0.5), ranked[half] * kind(0.5), out=out)


class _Replacer:
    """Replace chosen values of an array, bit by bit.

    `numpy.copyto(where=...)` branches at every value: with a mask that nobody can predict it takes 200
    times as long as the comparison that made the mask.
    """

    def __init__(self, size: int, dtype: np.dtype[Any]) -> None:
        self._bits = np.dtype(f"i{dtype.itemsize}")
        self._mask, self._change = (np.empty(size, self._bits) for _ in range(2))

    def replace(self, target: NDArray, source: NDArray, chosen: NDArray) -> None:
        """Set target = source where chosen."""
        mask, change = self._mask[: target.size], self._change[: target.size]
        np.copyto(mask, chosen)
        np.negative(mask, out=mask)  # all bits set where chosen
        bits = target.view(self._bits)
        np.bitwise_xor(bits, source.view(self._bits), out=change)
        np.bitwise_and(change, mask, out=change)
        np.bitwise_xor(bits, change, out=bits)


SPEC = StrategySpec(
    name="Bulyan",
    family=Family.ROBUST,
    summary="Krum's selection, then a trimmed mean; tolerates one malicious client of seven",
    source="El Mhamdi et al. 2018",
    apply=apply,
    weights_by_examples=False,
    withstands=lambda values, _count: NUM_MALICIOUS.of(values),
    parameters=(NUM_MALICIOUS,),
    example_values={"num_malicious": 1},
    bound=Bound(4, 3),  # section 4
    example_clients=7,
    differs_from_flower="Krum is iterated, as in the paper; Flower's ranks the updates once",
)
