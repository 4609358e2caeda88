"""Average the clients' metrics, also where clients do not all send the same ones."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import median_high, median_low

from oneflower.aggregation.updates import WEIGHT, Metric, Update

Weighted = Sequence[tuple[float, float]]
"""Numbers, each with its weight."""


def weighted_metrics(updates: Sequence[Update]) -> Mapping[str, float | list[float]]:
    """Average each metric over the clients that sent it, weighted by their examples.

    Flower's own sums whatever is there, so that a metric that one client lacks comes out too small. Here a
    metric is kept that more than half of the clients send, in the form (a number, or a list of one
    length) that is the most frequent; values that are not finite do not enter it.
    """
    return _averages(updates, _mean)


def median_metrics(updates: Sequence[Update]) -> Mapping[str, float | list[float]]:
    """Return the median of each metric over the clients that sent it: for numbers that decide something.

    What fewer than half of the clients say, with whatever weight, leaves the result between values of the
    others. Of an even number of clients it is the weighted mean of the two in the middle, so of two clients
    that of both. Metrics are kept as in `weighted_metrics`.
    """
    return _averages(updates, _median)


def _averages(
    updates: Sequence[Update], average_of: Callable[[Weighted], float]
) -> Mapping[str, float | list[float]]:
    counts = Counter(key for update in updates for key in update.metrics if key != WEIGHT)
    averages = {}
    for key in (key for key, count in counts.items() if 2 * count > len(updates)):
        sent = [(each.metrics[key], each.num_examples) for each in updates if key in each.metrics]
        average = _average(sent, average_of)
        if average is not None:
            averages[key] = average
    return averages


def _average(
    sent: Sequence[tuple[Metric, float]], average_of: Callable[[Weighted], float]
) -> float | list[float] | None:
    finite = [(value, weight) for value, weight in sent if all(map(math.isfinite, _listed(value)))]
    if not finite:
        return None
    forms = Counter(_form(value) for value, _ in finite)
    form = max(sorted(forms), key=forms.__getitem__)
    alike = [(_listed(value), weight) for value, weight in finite if _form(value) == form]
    try:
        means = [
            average_of([(values[i], weight) for values, weight in alike]) for i in range(len(alike[0][0]))
        ]
    except OverflowError:  # all at the largest float: a rounding up of the shares is enough
        return None
    return means if form >= 0 else means[0]


def _mean(sent: Weighted) -> float:
    total = math.fsum(weight for _, weight in sent)
    return math.fsum(value * (weight / total) for value, weight in sent)


def _median(sent: Weighted) -> float:
    values = [value for value, _ in sent]
    low, high = median_low(values), median_high(values)
    mean = _mean([(min(max(value, low), high), weight) for value, weight in sent])
    return float(min(max(mean, low), high))  # a rounding must not leave the range


def _form(value: Metric) -> int:
    return len(value) if isinstance(value, Sequence) else -1


def _listed(value: Metric) -> Sequence[float]:
    return value if isinstance(value, Sequence) else [value]
