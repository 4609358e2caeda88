"""Metrics say what the journal says, in a form that Prometheus reads."""

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client")

from prometheus_client.parser import text_string_to_metric_families

from oneflower.codes import LeftOutCode, Task
from oneflower.journal import reduce
from oneflower.monitor.metrics import exposition, names
from oneflower.monitor.state.safety import Kept, Proof, Safety

from ..making import entry, measured_rounds, metrics

BEGIN = datetime(2026, 1, 1, 10, tzinfo=UTC)
ROOT = Path(__file__).parents[2]


def at(second, tag, **fields):
    return entry(tag, at=BEGIN + timedelta(seconds=second), **fields)


def events():
    return [
        at(0, "training_started", rounds=5, strategy='Kr"um\n', app="a/b"),
        at(1, "round_started", round=1, rounds=5, clients=3),
        at(2, "reply_received", round=1, phase=Task.TRAIN, client="7", seconds=1.0),
        at(2, "client_quarantined", round=1, client="8", code=LeftOutCode.NOT_FINITE),
        at(3, "client_failed", round=1, client="9", code=LeftOutCode.NO_ANSWER),
        at(4, "round_aggregated", round=1, valid=1, seconds=0.25),
        at(
            5,
            "round_completed",
            round=1,
            rounds=5,
            valid=1,
            seconds=4.0,
            metrics=metrics(central={"loss": 0.5}),
        ),
        at(6, "run_lost", reason="killed"),
        at(7, "training_resumed", round=1, rounds=5, strategy="Krum", app="a/b"),
    ]


def samples(history, safety=None):
    text = exposition(history, safety or Safety(), BEGIN + timedelta(seconds=17)).decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.values()))] = sample.value
    return found


def test_prometheus_own_parser_reads_the_training():
    found = samples(reduce(events()))
    assert found["oneflower_round", ()] == 1
    assert found["oneflower_rounds", ()] == 5
    assert found["oneflower_phase", ("starting",)] == 1
    assert found["oneflower_round_seconds", ()] == 4.0
    assert found["oneflower_aggregation_seconds", ()] == 0.25
    assert found["oneflower_last_event_age_seconds", ()] == 10.0
    assert found["oneflower_restarts_total", ()] == 1
    assert found["oneflower_resumes_total", ()] == 1
    assert found["oneflower_client_quarantines_total", ("not_finite",)] == 1
    assert found["oneflower_client_failures_total", ("no_answer",)] == 1
    assert found["oneflower_model_metric", ("central", "loss")] == 0.5


def test_checkpoints_are_told_by_age_size_and_proof():
    kept = Kept(number=1, size_bytes=500, file="f", time=BEGIN, seconds=0.1, proof=Proof.VERIFIED)
    found = samples(reduce(events()), Safety(folder="/c", kept=(kept,), free_bytes=10**9))
    assert found["oneflower_checkpoint_age_seconds", ()] == 17.0
    assert found["oneflower_checkpoint_size_bytes", ()] == 500
    assert found["oneflower_checkpoint_free_bytes", ()] == 10**9
    assert found["oneflower_checkpoints", ("verified",)] == 1


def test_an_empty_journal_has_metrics_too():
    assert samples(reduce([]))["oneflower_phase", ("nothing",)] == 1


def test_what_clients_say_makes_no_new_series():
    """A hostile client may give another reason in every round."""
    said = [
        at(n, "client_failed", round=n, client=str(n), reason=f"text of their own {n}") for n in range(500)
    ]
    found = samples(reduce(said))
    assert found["oneflower_client_failures_total", ("other",)] == 500
    assert len([key for key in found if key[0] == "oneflower_client_failures_total"]) == len(LeftOutCode)


def promtool():
    path = shutil.which("promtool") or str(ROOT / ".cache" / "promtool" / "promtool")
    if not Path(path).exists():
        pytest.skip("promtool is not there: tests/browser/get-tools fetches it")
    return path


def test_promtool_finds_nothing_to_complain_about():
    text = exposition(reduce(events()), Safety(), BEGIN)
    checked = subprocess.run([promtool(), "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_the_names_are_those_that_a_query_has_to_write():
    assert {"oneflower_round", "oneflower_restarts_total", "oneflower_training_info"} <= names()
    written = {name for name, _ in samples(reduce(events()))}
    assert written <= names()


def test_outliers_are_counted_by_why_and_the_largest_distance_is_told():
    usual = {"a": 1.0, "b": 1.0, "c": 1.0, "d": 2.0}
    far = samples(reduce([entry("training_started", rounds=50), *measured_rounds({**usual, "evil": 8.0})]))
    assert far["oneflower_client_outliers", ("far",)] == 1
    assert far["oneflower_client_outliers", ("never_used",)] == 0
    assert far["oneflower_update_distance_largest", ()] == 8.0
    unused = measured_rounds(usual, rounds=10, selected=(1, 1, 1, 0))
    found = samples(reduce([entry("training_started", rounds=50), *unused]))
    assert found["oneflower_client_outliers", ("never_used",)] == 1
    assert found["oneflower_update_distance_largest", ()] == 2.0


def test_before_any_update_no_distance_is_told():
    found = samples(reduce([]))
    assert ("oneflower_update_distance_largest", ()) not in found
    assert found["oneflower_client_outliers", ("far",)] == 0
