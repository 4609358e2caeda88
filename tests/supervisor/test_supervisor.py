"""A lost run is submitted again, and not for ever; what is known survives the supervisor's own death."""

import dataclasses
import errno
import json

import pytest

from oneflower.codes import GiveUpCode, LossCode
from oneflower.errors import AppError, ClusterError, StateError, TrainingError
from oneflower.journal import Journal, JournalTail, read_journal
from oneflower.procfs import Identity
from oneflower.supervisor.machine import State
from oneflower.supervisor.memory import Memory, load, locked, taken_up
from oneflower.supervisor.place import Beside
from oneflower.supervisor.supervisor import CHECKPOINTS_OFF, Supervisor

from ..making import event

COMPLETED = ("finished", "completed", "")
LOST = ("finished", "failed", "No heartbeat received from the run.")
BROKEN = ("finished", "failed", "division by zero")


@pytest.fixture
def supervisor(played, job, tmp_path):
    def make(states, *, memory=None, job_=None, **given):
        given.setdefault("FL_CHECKPOINT_ENABLED", "YES")
        made = job_ or job(**given)
        played.control.states = list(states)
        said = []
        kept = Supervisor(
            place=played.place,
            job=made,
            memory=memory or Memory.fresh(made.describe(), max_restarts=made.max_restarts),
            memory_file=tmp_path / "training.json",
            journal=Journal(tmp_path / "journal.jsonl"),
            on_event=lambda _event: None,
            say=said.append,
            processes_at=lambda _address: played.processes,
            clock=played.clock,
            sleep=played.clock.sleep,
        )
        return kept, said

    return make


def events(tmp_path, name):
    return [each.event for each in read_journal(tmp_path / "journal.jsonl") if each.event.tag == name]


def test_a_run_that_completes_is_submitted_once_and_remembered_as_finished(supervisor, played, tmp_path):
    kept, _ = supervisor([COMPLETED])
    assert kept.run() is None
    assert len(played.control.submitted) == 1
    memory = load(tmp_path / "training.json")
    assert (memory.machine.state, memory.finish) == (State.FINISHED, None)


def test_every_state_is_written_into_the_journal(supervisor, tmp_path):
    supervisor([LOST, COMPLETED])[0].run()
    assert [event.state for event in events(tmp_path, "supervisor_state")] == [
        "waiting",
        "submitting",
        "training",
        "lost",
        "backing_off",
        "waiting",
        "submitting",
        "training",
        "finished",
    ]


def test_losses_in_a_row_wait_longer_and_end(supervisor, played, tmp_path):
    kept, _ = supervisor([LOST], FL_MAX_RESTARTS="3")
    with pytest.raises(TrainingError, match=r"(?s)gave up after 3 restarts.*FL_MAX_RESTARTS.*superlink.log"):
        kept.run()
    assert [event.delay_s for event in events(tmp_path, "run_lost")] == [0.0, 2.0, 4.0, 0.0]
    assert played.place.acts == ["up", "up", "restart", "restart"]
    (gave_up,) = events(tmp_path, "training_gave_up")
    assert gave_up.code is GiveUpCode.TOO_MANY_RESTARTS
    assert {event.code for event in events(tmp_path, "run_lost")} == {LossCode.APP_SILENT}


def test_an_exception_that_oneflower_knows_is_final_at_once(supervisor, played):
    played.control.log = "oneflower.errors.AppError: no data\n"
    with pytest.raises(AppError):
        supervisor([BROKEN])[0].run()
    assert len(played.control.submitted) == 1


def test_an_app_whose_end_is_seen_before_its_last_words_are_read_is_not_submitted_again(
    supervisor, played, tmp_path
):
    """The journal is read five times a second; the run may end in between, and its log come later still."""
    kept, _ = supervisor([BROKEN])
    runs = played.control.runs

    def ends_now():
        failed = event("training_failed", reason="no data", error="AppError")
        Journal(tmp_path / "journal.jsonl").append(failed, run=1)
        return runs()

    played.control.runs = ends_now
    with pytest.raises(AppError, match="no data"):
        kept.run()
    assert len(played.control.submitted) == 1


def test_an_exception_of_the_app_may_pass_once(supervisor, played):
    supervisor([BROKEN, COMPLETED])[0].run()
    assert len(played.control.submitted) == 2


def test_a_refused_app_is_final(supervisor, played):
    played.control.refuses = AppError("the app does not declare the key x")
    with pytest.raises(AppError, match="key x"):
        supervisor([COMPLETED])[0].run()


def test_a_superlink_that_does_not_come_up_counts_as_a_loss(supervisor, played):
    played.place.refuses = 2
    supervisor([COMPLETED], FL_MAX_RESTARTS="2")[0].run()
    played.place.refuses = 9
    with pytest.raises(TrainingError, match="port 9093 is taken"):
        supervisor([COMPLETED], FL_MAX_RESTARTS="2")[0].run()


@pytest.mark.parametrize(
    ("known", "stopped"), [({"runs": (77, 78)}, [77, 78]), ({"claims": True}, [77, 78, 80]), ({}, [])]
)
def test_our_stale_runs_are_stopped_before_the_submission_and_another_trainings_are_not(
    supervisor, played, known, stopped
):
    played.control.known = {
        77: ("running", "", ""),
        78: ("pending", "", ""),
        79: COMPLETED,
        80: ("running", "", ""),
    }
    played.processes.apps = ()
    kept, said = supervisor([COMPLETED])
    kept.memory = dataclasses.replace(kept.memory, **known)
    kept.run()
    assert played.control.stopped == stopped
    assert any("another run" in line and "80" in line for line in said) is (80 not in stopped)


def test_another_runs_serverapp_is_not_killed(supervisor, played):
    ours, other = Identity(pid=12, start_ticks=1), Identity(pid=99, start_ticks=1)
    played.processes.apps, played.processes.runs = (other,), {other: 5}
    supervisor([COMPLETED])[0].run()
    assert played.processes.acts == []
    played.processes.apps, played.processes.runs = (ours, other), {ours: 1, other: 5}
    kept, _ = supervisor([COMPLETED])
    kept.memory = dataclasses.replace(kept.memory, runs=(1,))
    kept.run()
    assert played.processes.acts == ["end apps"]


def test_a_submission_that_was_broken_off_claims_the_run_that_nobody_knows(supervisor, tmp_path):
    kept, _ = supervisor([COMPLETED])
    machine = dataclasses.replace(kept.memory.machine, state=State.SUBMITTING)
    dataclasses.replace(kept.memory, machine=machine).save(tmp_path / "training.json")
    assert load(tmp_path / "training.json").claims
    dataclasses.replace(kept.memory, runs=(4,)).save(tmp_path / "training.json")
    again = load(tmp_path / "training.json")
    assert (again.claims, again.runs) == (False, (4,))


def test_the_memory_of_an_earlier_version_claims_the_apps_runs(supervisor, tmp_path):
    kept, _ = supervisor([COMPLETED])
    kept.memory.save(tmp_path / "training.json")
    content = json.loads((tmp_path / "training.json").read_text())
    del content["runs"], content["claims"]
    (tmp_path / "training.json").write_text(json.dumps(content))
    assert load(tmp_path / "training.json").claims


def test_the_journal_names_our_runs_where_the_memory_is_lost(job):
    assert taken_up(None, job().describe(), max_restarts=1, runs=[3, 4]).runs == (3, 4)


def test_a_full_disk_is_a_loss_that_is_tried_again_on_the_same_superlink(supervisor, played, tmp_path):
    played.control.log = "oneflower.errors.StateError: No space left on device\n"
    full = ("finished", "failed", "No space left on device")
    supervisor([full, full, full, COMPLETED])[0].run()
    assert len(played.control.submitted) == 4
    assert "restart" not in played.place.acts
    assert "No space" in events(tmp_path, "run_lost")[0].reason


def test_a_full_disk_for_ever_gives_up_after_so_many_restarts(supervisor, played):
    played.control.log = "oneflower.errors.StateError: No space left on device\n"
    kept, _ = supervisor([("finished", "failed", "No space left on device")], FL_MAX_RESTARTS="3")
    with pytest.raises(TrainingError, match=r"after 3 restarts.*No space"):
        kept.run()


@pytest.mark.parametrize(
    "error", [OSError(errno.EMFILE, "Too many open files"), ClusterError("cannot start it")]
)
def test_what_prevents_a_look_for_a_moment_is_told_once_and_ends_nothing(supervisor, played, error):
    kept, said = supervisor([("running", "", ""), COMPLETED])
    until = played.clock.now + 8

    def tend():
        if played.clock.now < until:
            raise error
        played.control.known[1] = COMPLETED

    played.place.tend = tend
    kept.run()
    assert len([line for line in said if str(error) in line]) == 1


def test_a_memory_that_cannot_be_written_for_a_moment_ends_nothing(supervisor, played, tmp_path, monkeypatch):
    kept, said = supervisor([LOST, COMPLETED])
    save = Memory.save

    def refuse(memory, path):
        if memory.machine.state is State.LOST:
            raise StateError("the disk is full")
        save(memory, path)

    monkeypatch.setattr(Memory, "save", refuse)
    kept.run()
    assert any("the disk is full" in line for line in said)
    assert load(tmp_path / "training.json").machine.state is State.FINISHED


def test_a_supervisor_that_was_suspended_blames_nobody(supervisor, played):
    """The run is judged by the seconds in which the supervisor was awake."""
    kept, _ = supervisor([("pending", "", ""), COMPLETED])
    waits = iter([0.2] * 20 + [7200.0] + [0.2] * 20)

    def sleep(seconds):
        played.clock.sleep(next(waits, None) or seconds)
        if played.clock.now > 8204:
            played.control.known[1] = COMPLETED

    kept.sleep = sleep
    kept.run()
    assert len(played.control.submitted) == 1


def test_an_end_that_could_not_be_read_claims_nothing(supervisor, tmp_path, monkeypatch):
    kept, _ = supervisor([COMPLETED])
    monkeypatch.setattr(JournalTail, "trouble", "Input/output error")
    with pytest.raises(StateError, match=r"cannot be read: Input/output error.*not known"):
        kept.run()


def test_a_serverapp_that_outlives_its_run_is_killed(supervisor, played):
    supervisor([COMPLETED])[0].run()
    assert played.processes.acts == ["end apps"]


@pytest.mark.parametrize(("enabled", "told"), [("NO", 1), ("YES", 0)])
def test_a_loss_without_checkpoints_says_what_to_set(supervisor, enabled, told):
    kept, said = supervisor([LOST, COMPLETED], FL_CHECKPOINT_ENABLED=enabled)
    kept.run()
    assert said.count(CHECKPOINTS_OFF) == told
    assert "FL_CHECKPOINT_ENABLED=YES" in CHECKPOINTS_OFF


def test_a_run_is_followed_again_after_the_supervisors_death(supervisor, played, tmp_path):
    kept, _ = supervisor([COMPLETED])
    memory = dataclasses.replace(
        kept.memory, machine=dataclasses.replace(kept.memory.machine, state=State.TRAINING, run=5)
    )
    memory.save(tmp_path / "training.json")
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(event("run_submitted", app="tests/tiny"), run=5)
    journal.append(event("training_finished", round=3, sha256="ab"))
    played.control.known = {5: COMPLETED}
    again = taken_up(load(tmp_path / "training.json"), memory.training, max_restarts=10)
    kept, _ = supervisor([COMPLETED], memory=again)
    assert kept.run().sha256 == "ab"
    assert played.control.submitted == []


def test_never_resume_is_meant_for_the_first_start_only(supervisor, played, tmp_path):
    """A lost run that threw its own checkpoints away would begin at round 1 again and again."""
    kept, _ = supervisor([("running", "", ""), COMPLETED], FL_RESUME="never")

    def look(_address):
        if len(played.control.submitted) == 1:
            Journal(tmp_path / "journal.jsonl").append(event("training_started"))
            played.control.known[1] = LOST if kept.memory.began else ("running", "", "")
        return played.processes

    kept.sleep = lambda seconds: (played.clock.sleep(seconds), look(""))[0]
    kept.run()
    assert [config["resume"] for _, config in played.control.submitted] == ["never", "auto"]


def test_a_stop_stops_the_run_that_is_followed(supervisor, played):
    kept, said = supervisor([COMPLETED])
    kept.stop_run()
    assert played.control.stopped == []
    kept.memory = dataclasses.replace(
        kept.memory, machine=dataclasses.replace(kept.memory.machine, state=State.TRAINING, run=5)
    )
    kept.stop_run()
    assert played.control.stopped == [5]
    assert "checkpoints are kept" in said[0]


class TestBeside:
    @pytest.fixture
    def beside(self, played):
        said = []
        place = Beside(
            played.control, played.processes, say=said.append, clock=played.clock, sleep=played.clock.sleep
        )
        return place, said

    def test_it_waits_for_ever_and_visibly(self, beside, played):
        place, said = beside
        played.control.silent = True
        until = played.clock.now + 3600
        sleep = played.clock.sleep

        def wait(seconds):
            sleep(seconds)
            played.control.silent = played.clock.now < until

        place._sleep = wait
        place.bring_up(restart=False)
        assert played.clock.now >= until
        assert len(said) == 120
        assert "nothing answers" in said[0]

    def test_one_that_answers_with_errors_is_restarted(self, beside, played):
        """Its database is none any more: the launcher sets it aside at the next start."""
        place, said = beside
        played.control.silent, played.control.answers = True, True
        played.control.silence = "file is not a database"
        sleep, end = played.clock.sleep, played.processes.end_superlink

        def end_superlink():
            played.control.silent = False
            return end()

        played.processes.end_superlink = end_superlink
        place._sleep = sleep
        place.bring_up(restart=False)
        assert played.processes.acts == ["end superlink"]
        assert any("file is not a database" in line for line in said)

    def test_a_useless_superlink_is_ended_and_waited_for(self, beside, played):
        beside[0].bring_up(restart=True)
        assert played.processes.acts == ["end superlink"]

    def test_one_that_cannot_be_seen_is_left_alone_and_said(self, beside, played):
        played.processes.visible = False
        place, said = beside
        place.bring_up(restart=True)
        assert "cannot be ended from here" in said[0]


def test_two_supervisors_of_one_folder_are_refused(tmp_path):
    from oneflower.errors import ClusterError

    with locked(tmp_path), pytest.raises(ClusterError, match="another supervisor"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
