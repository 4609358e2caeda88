"""A training whose `up` or `simulate` has ended is shown as such: by its event, or by its free lock."""

import fcntl
import json
import threading
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from oneflower.cli.main import app
from oneflower.codes import Phase, SupervisorState
from oneflower.files import is_locked
from oneflower.journal import Journal, is_left, reduce
from oneflower.journal.state import interrupted
from oneflower.local_cluster.folder import StateFolder
from oneflower.monitor.export import short_document
from oneflower.monitor.html.page import render
from oneflower.monitor.html.report import render_report
from oneflower.monitor.metrics import exposition
from oneflower.monitor.state.following import Following
from oneflower.monitor.state.safety import Safety
from oneflower.monitor.state.supervision import silence_s
from oneflower.monitor.text.status import lines
from oneflower.opennebula.appliance.shown import shown

from ..making import entry

NOW = datetime(2026, 3, 2, tzinfo=UTC)
RUNNING = [
    entry("cluster_started", nodes=2),
    entry("run_submitted", run=1),
    entry("supervisor_state", run=1, state=SupervisorState.TRAINING),
    entry("training_started", run=1, rounds=9, app="a/b", strategy="FedAvg"),
    entry("client_joined", run=1, client="1", connected=1),
    entry("round_completed", run=1, round=1, rounds=9, valid=2, seconds=1.0),
    entry("round_started", run=1, round=2, rounds=9, clients=2),
    entry("round_aggregated", run=1, round=2, valid=2),
]
INTERRUPTED = entry("training_interrupted")
RESUME = "not running (interrupted in round 2): run the same command to resume"


def status(state):
    return "\n".join(f"{label} {text}" for label, text in lines(state, NOW))


def written(folder, entries=RUNNING):
    journal = Journal(folder / "journal.jsonl")
    for each in entries:
        journal.append(each.event, run=each.run)
    return journal


def command(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False).output


def test_the_event_is_shown_everywhere():
    state = reduce([*RUNNING, INTERRUPTED])
    text = status(state)
    assert f"now {RESUME}" in text
    for past in ("evaluating", "follows the run", "waiting for", "left", "see whether its processes run"):
        assert past not in text
    document = short_document(state, NOW)
    assert document["training"]["phase"] == "interrupted"
    assert document["supervisor"] is None
    assert document["connected"] == []
    metrics = exposition(state, Safety(), NOW).decode()
    assert 'oneflower_phase{phase="interrupted"} 1.0' in metrics
    assert 'oneflower_phase{phase="evaluating"} 0.0' in metrics
    page = render(state, Safety(), NOW, "1")
    assert "interrupted" in page.title
    assert "resumes it" in page.sections["headline"]
    assert "resumes it" in page.sections["doing"]
    assert "Supervisor" not in page.sections["doing"]
    assert "Interrupted" in render_report(state)
    assert shown(state)["FL_STATE"] == "waiting"
    assert silence_s(state, NOW) is None


@pytest.mark.parametrize("end", ["training_finished", "training_gave_up"])
def test_a_training_that_has_ended_stays_ended(end):
    ended = [*RUNNING, entry(end, run=None)]
    phase = reduce(ended).phase
    assert reduce([*ended, INTERRUPTED]).phase is phase
    assert interrupted(reduce(ended)).phase is phase


def test_a_start_that_is_interrupted_leaves_a_finished_training_finished():
    again = entry("supervisor_state", state=SupervisorState.WAITING)
    state = reduce([*RUNNING, entry("training_finished", run=1, sha256="ab"), again, INTERRUPTED])
    assert (state.phase, state.finish.sha256) == (Phase.FINISHED, "ab")


def test_the_next_start_goes_on():
    again = entry("supervisor_state", state=SupervisorState.WAITING)
    assert reduce([*RUNNING, INTERRUPTED, again]).phase is Phase.STARTING
    joined = entry("client_joined", client="1", connected=1)
    resumed = entry("training_resumed", round=1, rounds=9)
    assert short_document(reduce([*RUNNING, INTERRUPTED, again, resumed, joined]), NOW)["connected"] == ["1"]


def test_a_killed_command_is_seen_by_its_free_lock(tmp_path):
    written(tmp_path)
    folder = StateFolder(tmp_path)
    with folder.lock():
        assert "evaluating, round 2" in command("status", tmp_path)
    assert RESUME in command("status", tmp_path)
    assert RESUME in command("status", "--journal", folder.journal)
    assert json.loads(command("status", "--json", tmp_path))["training"]["phase"] == "interrupted"
    assert 'phase="interrupted"} 1.0' in command("metrics", tmp_path)
    assert "Interrupted" in command("report", tmp_path, "--output", "-")


def test_whoever_follows_sees_it_too_and_that_it_goes_on(tmp_path):
    written(tmp_path)
    folder = StateFolder(tmp_path)
    with Following(folder.journal) as following:
        with folder.lock():
            assert following.is_read()
            with following.view() as view:
                assert view.phase is Phase.EVALUATING
            before = following.state
        with following.view() as view:
            assert view.phase is Phase.INTERRUPTED
        assert following.state != before, "the page is rendered again"
        with folder.lock(), following.view() as view:
            assert view.phase is Phase.EVALUATING
            assert view.roster["1"].connected


@pytest.mark.parametrize("case", ["no lock", "supervise", "finished"])
def test_where_nothing_can_be_known_nothing_is_said(tmp_path, case):
    """A journal of another machine, one of `oneflower supervise`, whose run goes on, and an end."""
    entries = [*RUNNING, entry("training_finished", run=1)] if case == "finished" else RUNNING
    written(tmp_path, entries)
    if case != "no lock":
        with StateFolder(tmp_path).lock():
            pass
    if case == "supervise":
        (tmp_path / "supervisor.lock").touch()
    assert "not running" not in command("status", tmp_path)


def test_a_look_at_the_lock_ends_no_start(tmp_path, monkeypatch):
    """`up` waits for the moment in which `status` holds the lock."""
    monkeypatch.setattr("oneflower.local_cluster.folder._LOOKED_AT_S", 60.0)
    folder = StateFolder(tmp_path)
    assert is_locked(tmp_path / "lock") is None
    with folder.lock():
        assert is_locked(tmp_path / "lock") is True
        assert not is_left(folder.journal)
    assert is_left(folder.journal)
    with (tmp_path / "lock").open() as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        over = threading.Timer(0.05, fcntl.flock, (looked_at, fcntl.LOCK_UN))
        over.start()
        with folder.lock():
            over.join()


def test_a_journal_of_before_is_read_as_before(tmp_path):
    written(tmp_path)
    assert "evaluating, round 2: 0 of 2 have trained" in command("status", tmp_path)
