"""A run ends well, fails for good, or is lost; each is told from the others, whatever Flower says."""

import os
from contextlib import contextmanager

import pytest

from oneflower.codes import LossCode
from oneflower.errors import AppError, CheckpointError, ForeignError, StateError, TrainingError
from oneflower.journal import Journal
from oneflower.journal.heartbeat import Heartbeat, heartbeat_file, last_beat
from oneflower.kinds import ErrorKind
from oneflower.procfs import Identity
from oneflower.supervisor import watch as w
from oneflower.supervisor.processes import Work
from oneflower.supervisor.watch import RunLostError, Watch

from ..making import entry, event

FINISHED = entry("training_finished", round=3)
FAILED = entry("training_failed", reason="round 2 missed its quorum")
NO_HEARTBEAT = "No heartbeat received from the run."
ROUND_TIMEOUT_S = 100.0


@contextmanager
def lost(code, match=None):
    """Expect the loss of the run, for the reason of this code."""
    with pytest.raises(RunLostError, match=match) as caught:
        yield caught
    assert caught.value.code is code


@pytest.fixture
def watch(played):
    played.control.known[1] = ("running", "", "")
    made = watching(played)
    made.take(entry("run_submitted", run=1))
    assert not made.look()
    return made


def watching(played, run_id=1, **options):
    return Watch(
        run_id=run_id,
        control=played.control,
        sight=played.processes.look,
        work=played.processes.work,
        round_timeout_s=ROUND_TIMEOUT_S,
        clock=played.clock,
        **options,
    )


def finish(played, outcome, details=""):
    played.control.known[1] = ("finished", outcome, details)


def test_a_completed_run_is_over(watch, played):
    finish(played, "completed")
    assert watch.look()


def test_events_before_the_submission_belong_to_another_run(played):
    watch = watching(played, 2)
    for each in (entry("run_submitted", run=1), entry("round_completed", round=1), FAILED):
        watch.take(each)
    assert (watch.rounds, watch.has_ended, watch.began) == (0, False, False)
    watch.take(entry("run_submitted", run=2))
    watch.take(entry("training_resumed", round=1))
    watch.take(entry("round_completed", round=2))
    assert (watch.rounds, watch.began) == (1, True)


@pytest.mark.parametrize("seen", ["Flower tells that the run failed", "its process is gone"])
def test_the_last_words_of_an_app_count_though_its_end_is_seen_before_they_are_read(watch, played, seen):
    watch.catch_up = lambda: watch.take(entry("training_failed", reason="no data", error="AppError"))
    if seen == "its process is gone":
        played.processes.apps = ()
        played.clock.sleep(w.APP_GONE_S + 1)
        assert not watch.look()
    else:
        finish(played, "failed", "no data")
    with pytest.raises(AppError, match="no data"):
        watch.look()
    assert played.control.stopped == []


def test_a_finish_in_the_journal_counts_even_if_the_serverapp_hangs_at_its_exit(watch, played):
    watch.take(FINISHED)
    assert not watch.look()
    played.clock.sleep(w.EXIT_GRACE_S + 1)
    assert watch.look()


def test_a_superlink_that_dies_after_the_finish_loses_nothing(watch, played):
    watch.take(FINISHED)
    played.processes.superlink, played.processes.apps = None, ()
    played.clock.sleep(w.APP_GONE_S + 1)
    assert watch.look()


def test_running_without_a_serverapp_is_lost(watch, played):
    """Flower keeps such a run `running` for a minute, or for ever."""
    played.processes.apps = ()
    played.clock.sleep(1)
    assert not watch.look()
    played.clock.sleep(w.APP_GONE_S)
    with lost(LossCode.APP_ENDED, match="ServerApp") as caught:
        watch.look()
    assert not caught.value.superlink


def test_a_runtime_error_of_the_app_is_told_from_a_kill(watch, played):
    """Flower swallows it: the run stays `running`, and the log says no more than this."""
    played.processes.apps = ()
    played.control.log = "ERROR : Failed to start run.\n"
    played.clock.sleep(w.APP_GONE_S + 1)
    with lost(LossCode.APP_EXCEPTION, match="RuntimeError"):
        watch.look()


def test_the_journal_tells_the_kind_of_a_failure_before_any_log(watch, played):
    watch.take(entry("training_failed", error="AppError", reason="3 channels"))
    played.control.log = "oneflower.errors.CheckpointError: of an earlier run\n"
    finish(played, "failed", "3 channels")
    with pytest.raises(AppError, match="3 channels"):
        watch.look()


@pytest.mark.parametrize(
    ("log", "kind"),
    [
        ("oneflower.errors.ForeignError: not signed", ForeignError),
        ("oneflower.checkpoints.manifest.DamagedError: not signed", CheckpointError),
        ("oneflower.checkpoints.reader.MissingRoundError: not signed", CheckpointError),
        ("another.errors.CheckpointError: not signed", None),
    ],
)
def test_the_log_tells_the_kind_of_a_failure_that_no_event_has_told(watch, played, log, kind):
    """An error of a folder is one of the tree: otherwise it is restarted, and ends with another exit code."""
    played.control.log = f"{log}\n"
    finish(played, "failed", "not signed")
    with pytest.raises(w.RunLostError if kind is None else kind, match="not signed") as raised:
        watch.look()
    assert kind is None or type(raised.value) is kind


def test_a_kind_that_is_not_known_here_is_a_failed_training(watch, played):
    watch.take(entry("training_failed", error="Novelty", reason="of a later version"))
    finish(played, "failed", "of a later version")
    with pytest.raises(TrainingError, match="later version"):
        watch.look()


def test_a_serverapp_that_has_not_started_yet_is_waited_for(played):
    played.control.known[1] = ("starting", "", "")
    played.processes.apps = ()
    watch = watching(played)
    while played.clock.now < 1000 + w.NEVER_SEEN_S:
        assert not watch.look()
        played.clock.sleep(5)
    assert not watch.look()
    played.clock.sleep(5)
    with lost(LossCode.APP_NOT_STARTED, match="no ServerApp has started"):
        watch.look()


def test_the_serverapp_of_a_run_that_is_taken_up_again_must_be_there(played):
    played.control.known[1] = ("running", "", "")
    played.processes.apps = ()
    watch = watching(played, adopted=True)
    assert not watch.look()
    played.clock.sleep(w.APP_GONE_S + 1)
    with lost(LossCode.APP_ENDED, match="ServerApp"):
        watch.look()


def test_a_superlink_that_has_ended_is_a_loss_at_once(watch, played):
    played.processes.superlink = None
    with lost(LossCode.SUPERLINK_DOWN, match="SuperLink has ended") as caught:
        watch.look()
    assert caught.value.superlink


def test_a_superlink_that_was_restarted_has_lost_the_run(watch, played):
    """Its database says `running` for a minute more."""
    played.processes.superlink = Identity(pid=10, start_ticks=2)
    with lost(LossCode.SUPERLINK_RESTARTED, match="was restarted") as caught:
        watch.look()
    assert not caught.value.superlink


def test_a_superlink_that_knows_the_run_no_more_has_lost_it(watch, played):
    del played.control.known[1]
    with lost(LossCode.RUN_FORGOTTEN, match="does not know run 1"):
        watch.look()


def test_an_executor_that_stays_dead_costs_the_superlink(played):
    played.control.known[1] = ("pending", "", "")
    played.processes.apps = played.processes.executors = ()
    watch = watching(played)
    assert not watch.look()
    played.clock.sleep(w.EXECUTOR_GONE_S + 1)
    with lost(LossCode.EXECUTOR_ENDED, match="executor") as caught:
        watch.look()
    assert caught.value.superlink


def test_an_executor_is_not_missed_while_the_serverapp_works(watch, played):
    played.processes.executors = ()
    for _ in range(10):
        played.clock.sleep(w.EXECUTOR_GONE_S)
        assert not watch.look()


def test_a_slow_training_is_let_alone_and_one_that_does_nothing_is_dead(watch, played):
    watch.take(entry("training_started", round=0))
    for _ in range(10):
        played.clock.sleep(2 * ROUND_TIMEOUT_S)
        watch.take(entry("waiting_for_clients"))
        assert not watch.look()
    played.clock.sleep(2 * ROUND_TIMEOUT_S + w.STALL_MARGIN_S + 1)
    with lost(LossCode.APP_SILENT, match="has done nothing"):
        watch.look()


def hours_of(watch, played, work):
    """Look every minute for as long as no silence is borne, and twice that."""
    for minute in range(1, 2 * int(2 * ROUND_TIMEOUT_S + w.STALL_MARGIN_S) // 60):
        played.processes.done = work(minute)
        played.clock.sleep(60)
        assert not watch.look()


def test_an_app_that_writes_no_journal_is_never_called_dead_for_it(watch, played):
    """It waits for its clients: its main thread wakes, and uses next to nothing."""
    hours_of(watch, played, lambda minute: Work(cpu_s=0.01 * minute, turns=minute))


def test_a_long_evaluation_is_let_alone(watch, played):
    watch.take(entry("training_started", round=0))
    hours_of(watch, played, lambda minute: Work(cpu_s=30.0 * minute, turns=0))


def test_what_threads_beside_the_work_do_is_no_work(watch, played):
    """Flower's heartbeat and log threads of a ServerApp that hangs go on."""
    watch.take(entry("training_started", round=0))
    with lost(LossCode.APP_SILENT, match="has done nothing"):
        hours_of(watch, played, lambda minute: Work(cpu_s=0.3 * minute, turns=minute))


class TestHeartbeat:
    """A journal that cannot be written says nothing; the heart beats all the same."""

    def test_a_training_whose_journal_is_silent_is_let_alone_while_its_heart_beats(self, watch, played):
        """Its clients train for hours: it uses next to no CPU time."""
        watch.take(entry("training_started"))
        watch.beat = lambda _apps: played.clock.now
        hours_of(watch, played, lambda minute: Work(cpu_s=0.01 * minute, turns=minute))

    def test_it_counts_where_no_process_can_be_seen(self, watch, played):
        watch.take(entry("training_started"))
        played.processes.visible = False
        watch.beat = lambda _apps: played.clock.now
        hours_of(watch, played, lambda _: None)

    def test_a_journal_that_cannot_be_written_ends_no_training(self, watch, played, tmp_path):
        """This process plays a ServerApp that waits for its clients; a folder lies where its journal was."""
        path, heartbeat = tmp_path / "journal.jsonl", Heartbeat(heartbeat_file(tmp_path / "journal.jsonl", 1))
        path.mkdir()
        journal = Journal(path, heartbeat=heartbeat)
        watch.take(entry("training_started"))
        watch.beat = lambda _apps: last_beat(path, 1, [os.getpid()])

        def wait_for_clients(minute):
            journal.append(event("waiting_for_clients"))
            return Work(cpu_s=0.01 * minute, turns=minute)

        hours_of(watch, played, wait_for_clients)
        heartbeat.end()

    @pytest.mark.parametrize("beat", [None, 7])
    def test_a_heart_that_stands_still_is_no_sign_of_life(self, watch, played, beat):
        watch.take(entry("training_started"))
        watch.beat = lambda _apps: beat
        with lost(LossCode.APP_SILENT, match="has done nothing"):
            hours_of(watch, played, lambda minute: Work(cpu_s=0.01 * minute, turns=minute))


def test_a_serverapp_that_is_alive_and_never_begins_is_acted_on(watch, played):
    """It hangs while it imports, or loads its data."""
    with lost(LossCode.APP_SILENT, match="has not begun"):
        hours_of(watch, played, lambda minute: Work(cpu_s=0.3 * minute, turns=0))


@pytest.mark.parametrize("visible", [True, False])
def test_a_run_that_nobody_takes_up_costs_the_superlink_although_an_executor_lives(played, visible):
    played.control.known[1] = ("pending", "", "")
    played.processes.apps, played.processes.visible = (), visible
    watch = watching(played)
    assert not watch.look()
    played.clock.sleep(w.PENDING_S + 1)
    with lost(LossCode.RUN_NOT_TAKEN, match="no executor") as caught:
        watch.look()
    assert caught.value.superlink


class TestOwners:
    """Events and processes of another run in the same place are not this one's."""

    @pytest.mark.parametrize(
        "name", ["training_failed", "training_finished", "app_failed", "round_completed"]
    )
    def test_another_runs_event_changes_nothing(self, watch, played, name):
        watch.take(entry(name, run=2))
        assert (watch.has_ended, watch.rounds) == (False, 0)
        played.clock.sleep(w.EXIT_GRACE_S + 1)
        assert not watch.look()

    def test_its_own_event_counts_whatever_was_submitted_since(self, watch):
        watch.take(entry("run_submitted", run=2))
        watch.take(entry("round_completed", run=1, round=1))
        watch.take(entry("round_completed", round=2))
        assert watch.rounds == 1

    def test_another_runs_serverapp_does_not_hide_the_death_of_its_own(self, watch, played):
        other = Identity(pid=99, start_ticks=1)
        played.processes.apps, played.processes.runs = (other,), {other: 2}
        played.clock.sleep(w.APP_GONE_S + 1)
        with lost(LossCode.APP_ENDED, match="process has ended"):
            watch.look()


class TestKinds:
    """What passes by itself is a loss; what does not is the end."""

    @pytest.mark.parametrize("name", ["StateError", "CheckpointError", "AppError", "Novelty"])
    def test_the_journal_says_that_it_passes(self, watch, played, name):
        event = entry("training_failed", run=1, error=name, kind=ErrorKind.ENVIRONMENT, reason="full")
        watch.take(event)
        finish(played, "failed", "full")
        with lost(LossCode.ENVIRONMENT, match="full"):
            watch.look()

    def test_an_exception_of_the_app_that_passes_is_not_the_apps(self, watch, played):
        watch.take(entry("app_failed", run=1, error="OSError", kind=ErrorKind.ENVIRONMENT, reason="ESTALE"))
        finish(played, "failed", "the app raised OSError")
        with lost(LossCode.ENVIRONMENT):
            watch.look()

    def test_without_the_journal_the_log_names_the_class(self, watch, played):
        played.control.log = "oneflower.errors.StateError: the disk is full\n"
        finish(played, "failed", "the disk is full")
        with lost(LossCode.ENVIRONMENT):
            watch.look()

    def test_a_wrong_path_is_final(self, watch, played):
        event = entry("training_failed", run=1, error="StateError", kind=ErrorKind.SETTINGS, reason="a file")
        watch.take(event)
        finish(played, "failed", "a file")
        with pytest.raises(StateError) as caught:
            watch.look()
        assert caught.value.passing is False


def test_a_run_without_heartbeat_is_lost(watch, played):
    finish(played, "failed", NO_HEARTBEAT)
    with lost(LossCode.APP_SILENT):
        watch.look()


def test_an_exception_of_the_app_is_told_as_such(watch, played):
    finish(played, "failed", "division by zero")
    with lost(LossCode.APP_EXCEPTION, match="division by zero"):
        watch.look()


@pytest.mark.parametrize("kind", [AppError, CheckpointError, TrainingError])
def test_an_error_of_oneflower_keeps_its_kind(watch, played, kind):
    """Flower hands on the text of an exception, and the log has its class."""
    finish(played, "failed", "the images have 3 channels, the model expects 1")
    played.control.log = (
        "oneflower.errors.StateError: an earlier one that was handled\n"
        f"Traceback (most recent call last):\noneflower.errors.{kind.__name__}: the images have 3 channels\n"
    )
    with pytest.raises(kind, match="3 channels, the model expects 1") as caught:
        watch.look()
    assert caught.value.exit_code == kind.exit_code


@pytest.mark.parametrize("name", ["NoSuchError", "__builtins__", "OneflowerErrors"])
def test_a_log_cannot_name_any_other_class(watch, played, name):
    finish(played, "failed", "text")
    played.control.log = f"oneflower.errors.{name}: text\n"
    with lost(LossCode.APP_EXCEPTION):
        watch.look()


def test_a_training_that_failed_by_its_own_word_failed(watch, played):
    watch.take(FAILED)
    finish(played, "failed")
    with pytest.raises(TrainingError, match="missed its quorum"):
        watch.look()


def test_a_run_that_somebody_stopped_is_not_started_again(watch, played):
    finish(played, "stopped")
    with pytest.raises(TrainingError, match="stopped"):
        watch.look()


def test_a_short_silence_is_borne_and_a_long_one_is_a_loss(watch, played):
    played.control.silent = True
    assert not watch.look()
    played.clock.sleep(w.SILENT_S / 2)
    assert not watch.look()
    played.clock.sleep(w.SILENT_S)
    with lost(LossCode.SUPERLINK_SILENT, match="nothing answers") as caught:
        watch.look()
    assert caught.value.superlink
