"""Trackers show the rounds that count, once, however often a journal is handed over."""

import shutil
from datetime import UTC, datetime

import pytest

from oneflower.monitor.tracking.tracker import scalars, track

from ...making import entry, metrics

FACTS = {"rounds": 4, "strategy": "Krum", "parameters": {"num-malicious": 1}, "app": "a/b"}


def at(second, tag, **fields):
    return entry(tag, at=datetime(2026, 1, 1, 10, 0, second, tzinfo=UTC), **fields)


def completed(second, number, loss):
    return at(
        second,
        "round_completed",
        round=number,
        rounds=4,
        valid=2,
        seconds=1.0,
        metrics=metrics(central={"loss": loss, "odd name, by a client": 1.0}),
    )


def resumed_training():
    """Rounds 2 and 3 were lost after round 1, and trained again."""
    return [
        at(0, "training_started", round=0, **FACTS),
        completed(1, 1, 0.9),
        completed(2, 2, 0.8),
        completed(3, 3, 0.7),
        at(4, "training_resumed", round=1, **FACTS),
        at(5, "client_failed", round=2, client="7", reason="r"),
        completed(5, 2, 0.6),
        completed(6, 3, 0.5),
        completed(7, 4, 0.4),
        at(8, "training_finished", round=4, **FACTS),
    ]


class Notes:
    def __init__(self):
        self.said = []

    def begin(self, view):
        self.said.append(("begin", view.strategy))

    def rewind(self, after):
        self.said.append(("rewind", after))

    def completed(self, result, left_out):
        self.said.append((result.number, left_out))

    def finish(self, outcome):
        self.said.append(("finish", outcome))

    def close(self):
        self.said.append(("close",))


def test_a_tracker_is_told_of_starts_rounds_and_the_end():
    notes = Notes()
    view = track(resumed_training(), notes)
    assert view.done == 4
    assert notes.said == [
        ("rewind", 0),
        ("begin", "Krum"),
        (1, 0),
        (2, 0),
        (3, 0),
        ("rewind", 1),
        ("begin", "Krum"),
        (2, 1),
        (3, 0),
        (4, 0),
        ("finish", "finished"),
    ]


def test_numbers_have_the_same_names_for_every_tracker():
    view = track(resumed_training(), Notes())
    assert scalars(view.rounds[2], 1) == {
        "central/loss": 0.6,
        "central/odd name, by a client": 1.0,
        "round/seconds": 1.0,
        "round/clients": 2.0,
        "round/left_out": 1.0,
    }


@pytest.mark.parametrize("times", [1, 3])
def test_tensorboard_shows_the_rounds_that_count_once(tmp_path, times):
    """Read back by TensorBoard's own reader."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from oneflower.monitor.tracking.tensorboard import TensorBoardTracker

    for _ in range(times):
        tracker = TensorBoardTracker(tmp_path)
        track(resumed_training(), tracker)
        tracker.close()
    found = EventAccumulator(str(tmp_path))
    found.Reload()
    points = [(each.step, round(each.value, 3)) for each in found.Scalars("central/loss")]
    assert points == [(1, 0.9), (2, 0.6), (3, 0.5), (4, 0.4)]
    assert found.Scalars("central/loss")[0].wall_time == pytest.approx(1767261601.0)
    assert b"num-malicious | 1" in found.Tensors("parameters/text_summary")[0].tensor_proto.string_val[0]


def test_mlflow_has_one_run_a_training_and_no_point_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    from oneflower.monitor.tracking.mlflow import MlflowTracker

    uri = f"file:{tmp_path / 'mlflow'}"
    for _ in range(2):
        track(resumed_training(), MlflowTracker(uri, "e"))
    client = MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"]
    assert runs[0].data.params["num-malicious"] == "1"
    points = [
        (each.step, each.value) for each in client.get_metric_history(runs[0].info.run_id, "central/loss")
    ]
    assert points == [(1, 0.9), (2, 0.8), (3, 0.7), (2, 0.6), (3, 0.5), (4, 0.4)]
    assert runs[0].data.metrics["central/loss"] == 0.4
    shutil.rmtree(tmp_path / "mlflow")
