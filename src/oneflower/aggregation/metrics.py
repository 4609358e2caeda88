"""Average the clients' metrics, also where clients do not all send the same ones."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from oneflower.aggregation.updates import WEIGHT, Metric, Update


def weighted_metrics(updates: Sequence[Update]) -> Mapping[str, float | list[float]]:
    """Average each metric over the clients that sent it, weighted by their examples.

    Flower's own sums whatever is there, so that a metric that one client lacks comes out too small. Here a
    metric is kept that more than half of the clients send, in the form (a number, or a list of one
    length) that is the most frequent; values that are not finite do not enter it.
    """
    counts = Counter(key for update in updates for key in update.metrics if key != WEIGHT)
    averages = {}
    for key in (key for key, count in counts.items() if 2 * count > len(updates)):
        sent = [(each.metrics[key], each.num_examples) for each in updates if key in each.metrics]
        average = _average(sent)
        if average is not None:
            averages[key] = average
    return averages


def _average(sent: Sequence[tuple[Metric, float]]) -> float | list[float] | None:
    finite = [(value, weight) for value, weight in sent if all(map(math.isfinite, _listed(value)))]
    if not finite:
        return None
    forms = Counter(_form(value) for value, _ in finite)
    form = max(sorted(forms), key=forms.__getitem__)
    alike = [(_listed(value), weight) for value, weight in finite if _form(value) == form]
    total = math.fsum(weight for _, weight in alike)
    try:
        means = [
            math.fsum(values[i] * (weight / total) for values, weight in alike)
            for i in range(len(alike[0][0]))
        ]
    except OverflowError:  # all at the largest float: a rounding up of the shares is enough
        return None
    return means if form >= 0 else means[0]


def _form(value: Metric) -> int:
    return len(value) if isinstance(value, Sequence) else -1


def _listed(value: Metric) -> Sequence[float]:
    return value if isinstance(value, Sequence) else [value]
