"""Average the clients' metrics, also where clients do not all send the same ones."""

import math
from collections import Counter
from collections.abc import Sequence

from oneflower.flower.api import MetricRecord, RecordDict

Value = int | float | list[int] | list[float]


def weighted_metrics(records: list[RecordDict], weight_key: str) -> MetricRecord:
    """Average each metric over the clients that sent it, weighted by their examples.

    Flower's own sums whatever is there, so that a metric that one client lacks comes out too small. Here a
    metric is kept that more than half of the clients send, in the form (a number, or a list of one
    length) that is the most frequent; values that are not finite do not enter it. The signature is
    Flower's.
    """
    clients = [next(iter(record.metric_records.values())) for record in records]
    weights = [_number(client[weight_key]) for client in clients]
    counts = Counter(key for client in clients for key in client if key != weight_key)
    averages = MetricRecord()
    for key in (key for key, count in counts.items() if 2 * count > len(clients)):
        sent = [
            (client[key], weight) for client, weight in zip(clients, weights, strict=True) if key in client
        ]
        average = _average(sent)
        if average is not None:
            averages[key] = average
    return averages


def _average(sent: Sequence[tuple[Value, float]]) -> float | list[float] | None:
    finite = [(value, weight) for value, weight in sent if all(map(math.isfinite, _listed(value)))]
    if not finite:
        return None
    forms = Counter(_form(value) for value, _ in finite)
    form = max(sorted(forms), key=forms.__getitem__)
    alike = [(_listed(value), weight) for value, weight in finite if _form(value) == form]
    total = math.fsum(weight for _, weight in alike)
    means = [
        math.fsum(values[i] * (weight / total) for values, weight in alike) for i in range(len(alike[0][0]))
    ]
    return means if form >= 0 else means[0]


def _form(value: Value) -> int:
    return len(value) if isinstance(value, list) else -1


def _listed(value: Value) -> Sequence[float]:
    return value if isinstance(value, list) else [value]


def _number(value: Value) -> float:
    return math.nan if isinstance(value, list) else float(value)
