"""The metrics of a training, round by round, as JSON: they travel in every checkpoint's manifest."""

from collections.abc import Mapping
from typing import Any

from flwr.common import MetricRecord
from flwr.serverapp.strategy import Result

_SERIES = {
    "train": "train_metrics_clientapp",
    "evaluate": "evaluate_metrics_clientapp",
    "central": "evaluate_metrics_serverapp",
}


def metrics_of(record: MetricRecord | None) -> dict[str, Any]:
    """Return the metrics of one record by name; an absent record has none."""
    return {} if record is None else {name: record[name] for name in sorted(record)}


def round_metrics(result: Result, server_round: int) -> dict[str, dict[str, Any]]:
    """Return the train, evaluate and central metrics of one round."""
    return {name: metrics_of(getattr(result, field).get(server_round)) for name, field in _SERIES.items()}


def to_json(result: Result) -> dict[str, dict[str, dict[str, Any]]]:
    """Return every series as ``{series: {round: {metric: value}}}``, rounds as decimal text."""
    return {
        name: {str(number): metrics_of(record) for number, record in sorted(getattr(result, field).items())}
        for name, field in _SERIES.items()
    }


def restore(result: Result, history: Mapping[str, Any]) -> None:
    """Fill a result with the series of a manifest; the inverse of `to_json`."""
    for name, field in _SERIES.items():
        series = {int(number): MetricRecord(metrics) for number, metrics in history.get(name, {}).items()}
        getattr(result, field).update(series)
