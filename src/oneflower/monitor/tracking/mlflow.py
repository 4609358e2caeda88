"""MLflow, by a tracking address or a folder. Needs the extra `mlflow` (mlflow-skinny)."""

import posixpath
from typing import Any, Final

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from oneflower.codes import Phase
from oneflower.journal import TrainingState
from oneflower.journal.state.records import RoundResult
from oneflower.monitor.tracking.tracker import parameters, scalars

KEY_TAG: Final = "oneflower.training"
LONGEST_VALUE: Final = 500
LONGEST_NAME: Final = 250
# What MLflow takes at a time.
MOST_PARAMETERS: Final = 100
MOST_METRICS: Final = 1000
STATUS: Final = {Phase.FINISHED: "FINISHED", Phase.FAILED: "FAILED"}


class MlflowTracker:
    """Logs one training as one run; tracking it again continues that run.

    MLflow keeps every point that it ever got: what it has of a round is not sent again, and the rounds that a
    crash lost and that were trained again come with the later time, as MLflow's pages show them.

    Parameters
    ----------
    uri : str
        A tracking address, or a folder as ``file:...``.
    experiment : str
        Its name; it is made where it does not exist.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self._client = MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(experiment)
        self._experiment: str = found.experiment_id if found else self._client.create_experiment(experiment)
        self._run: Any = None
        self._sent: set[tuple[str, int, int]] = set()

    def begin(self, view: TrainingState) -> None:
        """Find the training's run, or make it, and log the parameters that it does not have."""
        key = f"{_name(view.app)} {view.first_time.isoformat() if view.first_time else ''}"
        if self._run is None or self._run.data.tags.get(KEY_TAG) != key:
            self._run = self._find(key) or self._make(view, key)
            self._sent = self._known()
        self._client.update_run(self._run.info.run_id, status="RUNNING")
        known = self._run.data.params
        new = {_name(name): str(value)[:LONGEST_VALUE] for name, value in parameters(view).items()}
        params = [Param(name, value) for name, value in new.items() if name not in known and value]
        for begin in range(0, len(params), MOST_PARAMETERS):
            self._client.log_batch(self._run.info.run_id, params=params[begin : begin + MOST_PARAMETERS])
        self._run = self._client.get_run(self._run.info.run_id)

    def rewind(self, after: int) -> None:
        """MLflow cannot forget; note where the training went on."""
        if after and self._run is not None:
            tag = RunTag("oneflower.resumed_after", str(after))
            self._client.log_batch(self._run.info.run_id, tags=[tag])

    def completed(self, result: RoundResult, left_out: int) -> None:
        """Log the round's numbers at its step, those that MLflow does not have."""
        if self._run is None:
            return
        at_ms = round(1000 * result.time.timestamp()) if result.time else 0
        points = {
            (_name(name), result.number, at_ms): value for name, value in scalars(result, left_out).items()
        }
        metrics = [
            Metric(name, value, timestamp, step)
            for (name, step, timestamp), value in points.items()
            if (name, step, timestamp) not in self._sent
        ]
        if metrics:
            self._client.log_batch(self._run.info.run_id, metrics=metrics[:MOST_METRICS])
            self._sent.update(points)

    def finish(self, outcome: Phase) -> None:
        """End the run."""
        if self._run is not None:
            self._client.set_terminated(self._run.info.run_id, status=STATUS[outcome])

    def close(self) -> None:
        """Nothing is held back."""

    def _find(self, key: str) -> Any:
        runs = self._client.search_runs([self._experiment], filter_string=f"tags.`{KEY_TAG}` = '{key}'")
        return runs[0] if runs else None

    def _make(self, view: TrainingState, key: str) -> Any:
        name = f"{view.strategy} {view.first_time:%Y-%m-%d %H:%M}" if view.first_time else view.strategy
        return self._client.create_run(self._experiment, tags={KEY_TAG: key}, run_name=name)

    def _known(self) -> set[tuple[str, int, int]]:
        run_id = self._run.info.run_id
        return {
            (point.key, point.step, point.timestamp)
            for name in self._run.data.metrics
            for point in self._client.get_metric_history(run_id, name)
        }


def _name(text: str) -> str:
    """Return a name that MLflow takes: a client may have named its metric with anything."""
    plain = "".join(char if char.isalnum() or char in "_-./ " else "_" for char in text[:LONGEST_NAME])
    return posixpath.normpath(plain.strip("./ ") or "_").lstrip("./ ") or "_"
