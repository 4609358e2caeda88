"""A run ends well, fails for good, or is lost; each is told from the others, whatever Flower says."""

import pytest

from oneflower.cluster.watch import APP_GONE_S, EXIT_GRACE_S, SILENT_S, AppFailed, RunLost, Watch
from oneflower.errors import AppError, CheckpointError, TrainingError
from oneflower.flower.control import RunState

FINISHED = {"event": "training_finished", "round": 3}
FAILED = {"event": "training_failed", "reason": "round 2 missed its quorum"}
NO_HEARTBEAT = "No heartbeat received from the run."


def state(status, outcome="", details=""):
    return RunState(run_id=1, status=status, outcome=outcome, details=details)


@pytest.fixture
def watch(cluster, clock):
    made = Watch(run_id=1, cluster=cluster, clock=clock)
    made.take({"event": "run_submitted", "run": 1})
    return made


def finish(cluster, outcome, details=""):
    cluster.control.states = [state("finished", outcome, details)]


def test_a_run_that_goes_on_is_not_over(watch):
    assert not watch.look()


def test_a_completed_run_is_over(watch, cluster):
    finish(cluster, "completed")
    assert watch.look()


def test_events_before_the_submission_belong_to_another_run(cluster, clock):
    watch = Watch(run_id=2, cluster=cluster, clock=clock)
    for event in ({"event": "run_submitted", "run": 1}, {"event": "round_completed", "round": 1}, FAILED):
        watch.take(event)
    assert (watch.rounds, watch.ending) == (0, None)
    watch.take({"event": "run_submitted", "run": 2})
    watch.take({"event": "round_completed", "round": 2})
    assert watch.rounds == 1


def test_a_finish_in_the_journal_counts_even_if_the_serverapp_hangs_at_its_exit(watch, clock):
    watch.take(FINISHED)
    assert not watch.look()
    clock.sleep(EXIT_GRACE_S + 1)
    assert watch.look()


def test_a_serverapp_that_ended_after_its_finish_has_finished(watch, cluster, clock):
    watch.look()
    watch.take(FINISHED)
    cluster.app_runs = False
    clock.sleep(APP_GONE_S + 1)
    assert watch.look()


def test_running_without_a_serverapp_is_lost(watch, cluster, clock):
    """Flower keeps such a run `running` for a minute, or for ever."""
    watch.look()
    cluster.app_runs = False
    clock.sleep(1)
    assert not watch.look()
    clock.sleep(APP_GONE_S)
    with pytest.raises(RunLost, match="ServerApp"):
        watch.look()


def test_a_runtime_error_of_the_app_is_told_from_a_kill(watch, cluster, clock):
    """Flower swallows it: the run stays `running`, and the log says no more than this."""
    watch.look()
    cluster.app_runs = False
    cluster.control.log = "ERROR : Failed to start run.\n"
    clock.sleep(APP_GONE_S + 1)
    with pytest.raises(AppFailed, match="RuntimeError"):
        watch.look()


def test_a_serverapp_that_has_not_started_yet_is_waited_for(watch, cluster, clock):
    cluster.app_runs = False
    for _ in range(20):
        clock.sleep(5)
        assert not watch.look()


def test_a_run_without_heartbeat_is_lost(watch, cluster):
    finish(cluster, "failed", NO_HEARTBEAT)
    with pytest.raises(RunLost) as caught:
        watch.look()
    assert not isinstance(caught.value, AppFailed)


def test_an_exception_of_the_app_is_told_as_such(watch, cluster):
    finish(cluster, "failed", "division by zero")
    with pytest.raises(AppFailed, match="division by zero"):
        watch.look()


@pytest.mark.parametrize("kind", [AppError, CheckpointError, TrainingError])
def test_an_error_of_oneflower_keeps_its_kind(watch, cluster, kind):
    """Flower hands on the text of an exception, and the log has its class."""
    finish(cluster, "failed", "the images have 3 channels, the model expects 1")
    cluster.control.log = (
        "oneflower.errors.StateError: an earlier one that was handled\n"
        f"Traceback (most recent call last):\noneflower.errors.{kind.__name__}: the images have 3 channels\n"
    )
    with pytest.raises(kind, match="3 channels, the model expects 1") as caught:
        watch.look()
    assert caught.value.exit_code == kind.exit_code


@pytest.mark.parametrize("name", ["NoSuchError", "__builtins__", "OneflowerErrors"])
def test_a_log_cannot_name_any_other_class(watch, cluster, name):
    finish(cluster, "failed", "text")
    cluster.control.log = f"oneflower.errors.{name}: text\n"
    with pytest.raises(AppFailed):
        watch.look()


def test_a_training_that_failed_by_its_own_word_failed(watch, cluster):
    watch.take(FAILED)
    finish(cluster, "failed", "")
    with pytest.raises(TrainingError, match="missed its quorum"):
        watch.look()


def test_a_run_that_somebody_stopped_is_not_started_again(watch, cluster):
    finish(cluster, "stopped")
    with pytest.raises(TrainingError, match="stopped"):
        watch.look()


def test_a_short_silence_is_borne_and_a_long_one_is_a_loss(watch, cluster, clock):
    watch.look()
    cluster.control.silent = True
    assert not watch.look()
    clock.sleep(SILENT_S / 2)
    assert not watch.look()
    clock.sleep(SILENT_S)
    with pytest.raises(RunLost, match="nothing answers"):
        watch.look()
