"""A lost run is submitted again on a cluster that is booted anew, and not for ever."""

import pytest

from oneflower.cluster.training import Training
from oneflower.errors import AppError, TrainingError
from oneflower.flower.control import RunState
from oneflower.flower.fab import Fab
from oneflower.journal import Journal, read_journal

COMPLETED = RunState(run_id=1, status="finished", outcome="completed")
LOST = RunState(run_id=1, status="finished", outcome="failed", details="No heartbeat received from the run.")
BROKEN = RunState(run_id=1, status="finished", outcome="failed", details="division by zero")


@pytest.fixture
def training(cluster, clock, tmp_path):
    def make(states, *, max_restarts=3, on_event=lambda _event: None):
        cluster.control.states = list(states)
        return Training(
            cluster=cluster,
            fab=Fab(content=b"fab", hash="h", id="tests/tiny", version="1"),
            run_config={"seed": 1},
            max_restarts=max_restarts,
            journal=Journal(tmp_path / "journal.jsonl"),
            on_event=on_event,
            clock=clock,
            sleep=clock.sleep,
        )

    return make


def test_a_run_that_completes_is_submitted_once(training, cluster):
    assert training([COMPLETED]).run() is None
    assert cluster.control.submitted == [(b"fab", {"seed": 1})]
    assert cluster.acts == []


def test_a_lost_run_is_submitted_again_after_a_new_boot(training, cluster, tmp_path):
    training([LOST, COMPLETED]).run()
    assert len(cluster.control.submitted) == 2
    assert cluster.acts == ["stop", "start"]
    events = [event["event"] for event in read_journal(tmp_path / "journal.jsonl")]
    assert events == ["run_submitted", "training_lost", "run_submitted"]


def test_losses_in_a_row_wait_longer_and_end(training, clock, tmp_path):
    began = clock.now
    with pytest.raises(TrainingError, match=r"gave up after 3 restarts.*FL_MAX_RESTARTS"):
        training([LOST]).run()
    waits = [e["delay_s"] for e in read_journal(tmp_path / "journal.jsonl") if e["event"] == "training_lost"]
    assert waits == [0.0, 2.0, 4.0]
    assert clock.now - began >= sum(waits)


def test_no_restart_is_made_where_none_is_allowed(training, cluster):
    with pytest.raises(TrainingError, match="gave up after 0 restarts"):
        training([LOST], max_restarts=0).run()
    assert cluster.acts == []


def test_the_same_exception_twice_without_progress_is_final(training, cluster):
    with pytest.raises(TrainingError, match=r"failed twice in the same way: division by zero") as caught:
        training([BROKEN]).run()
    assert len(cluster.control.submitted) == 2
    assert "The end of superlink.log" in str(caught.value)


def test_an_exception_once_may_pass(training, cluster):
    training([BROKEN, COMPLETED]).run()
    assert len(cluster.control.submitted) == 2


def test_an_error_of_oneflower_is_final_at_once(training, cluster):
    cluster.control.log = "oneflower.errors.AppError: no data\n"
    with pytest.raises(AppError):
        training([BROKEN]).run()
    assert len(cluster.control.submitted) == 1
