"""The metrics of a training, round by round, as JSON: they travel beside its checkpoints."""

from collections.abc import Mapping
from logging import WARNING
from typing import Any

from oneflower.checkpoints import Metrics, loadable
from oneflower.flower.api import ArrayRecord, MetricRecord, Result, log
from oneflower.quality import Wanted
from oneflower.training.series import Series

_SERIES = {
    "train": "train_metrics_clientapp",
    "evaluate": "evaluate_metrics_clientapp",
    "central": "evaluate_metrics_serverapp",
}


def new_result(arrays: ArrayRecord) -> Result:
    """Return Flower's result for a training that begins, with room for the metrics of many rounds."""
    result = Result(arrays=arrays)
    for field in _SERIES.values():
        setattr(result, field, Series())
    return result


def metrics_of(record: MetricRecord | None) -> dict[str, Any]:
    """Return the metrics of one record by name; an absent record has none."""
    return {} if record is None else {name: record[name] for name in sorted(record)}


def round_metrics(result: Result, server_round: int) -> dict[str, dict[str, Any]]:
    """Return the train, evaluate and central metrics of one round."""
    return {name: metrics_of(getattr(result, field).get(server_round)) for name, field in _SERIES.items()}


def clients_decide(result: Result, wanted: Wanted) -> bool:
    """Return whether the clients' metrics say how good a model is: the server's newest ones do not."""
    central = result.evaluate_metrics_serverapp
    newest = next(reversed(central), None)
    return newest is None or not wanted.decided_centrally(central[newest])


def metrics_since(result: Result, recorded: Mapping[str, int]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return ``{series: {round: {metric: value}}}`` of the rounds after those recorded, as decimal text.

    A series grows at its end, so only the new rounds are looked at.
    """
    return {name: _after(getattr(result, field), recorded.get(name, -1)) for name, field in _SERIES.items()}


def _after(series: Series, last: int) -> dict[str, dict[str, Any]]:
    new = []
    for number in reversed(series):
        if number <= last:
            break
        new.append(number)
    return {str(number): metrics_of(series[number]) for number in reversed(new)}


def restore(result: Result, history: Metrics) -> None:
    """Fill a result with the series of a checkpoint.

    Earlier releases saved metrics that Flower's records cannot hold, and then could not resume. Such metrics
    are left out, each name once with a warning.
    """
    good, reasons = loadable(history)
    for name, field in _SERIES.items():
        series = good.get(name, {})
        for number in sorted(series, key=int):
            getattr(result, field)[int(number)] = MetricRecord(dict(series[number]))
    for reason in reasons.values():
        log(WARNING, "metric left out on the resume reason=%s", reason)
