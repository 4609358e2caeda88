"""Where a training is expected, a path names it: a state folder, a journal, a checkpoint folder."""

import re

import pytest
from typer.testing import CliRunner

from oneflower.checkpoints import CheckpointStore
from oneflower.cli.main import app
from oneflower.errors import SettingsError, StateError
from oneflower.journal import Journal

from ..checkpoints.conftest import make
from ..making import event


@pytest.fixture
def state(tmp_path):
    folder = tmp_path / "state"
    journal = Journal(folder / "journal.jsonl")
    journal.append(event("training_started", round=0, rounds=3, strategy="FedAvg", parameters={}, app="tiny"))
    (folder / "logs").mkdir()
    (folder / "logs" / "superlink.log.1").write_text("before\n")
    (folder / "logs" / "superlink.log").write_text("\x1b[92mINFO\x1b[0m: started\n\x1b]0;evil\x07later\n")
    (folder / "logs" / "supernode-0.log").write_text("node\n")
    return folder


def run(*arguments, **environ):
    environ = {"ONEFLOWER_JOURNAL": None, "FL_CHECKPOINT_PATH": None, **environ}
    return CliRunner().invoke(app, [str(each) for each in arguments], env=environ, catch_exceptions=False)


@pytest.mark.parametrize("command", ["status", "logs"])
def test_a_reader_takes_a_state_folder_or_a_journal(state, command):
    shown = [
        run(command, *how).output
        for how in (
            [state],
            [state / "journal.jsonl"],
            ["--state", state],
            ["--journal", state / "journal.jsonl"],
        )
    ]
    assert "FedAvg" in shown[0]
    assert len({re.sub(r"\d+ s ago", "", each) for each in shown}) == 1


def test_a_path_wins_over_the_environment(state, tmp_path):
    other = Journal(tmp_path / "other.jsonl")
    other.append(
        event("training_started", round=0, rounds=3, strategy="Krum", parameters={}, app="tests/other")
    )
    assert "Krum" in run("status", ONEFLOWER_JOURNAL=str(other.path)).output
    assert "FedAvg" in run("status", state, ONEFLOWER_JOURNAL=str(other.path)).output


def test_two_places_are_refused(state, tmp_path):
    with pytest.raises(SettingsError, match="expected one place") as raised:
        run("status", state, "--state", tmp_path)
    assert raised.value.exit_code == 2


def test_a_report_is_written_beside_the_journal(state):
    assert run("report", state).output.strip() == str(state / "report.html")


class TestCheckpoints:
    @pytest.fixture
    def folder(self, state):
        with CheckpointStore(state / "checkpoints") as store:
            for number in (1, 2):
                store.save(make(number))
        return state / "checkpoints"

    @pytest.mark.parametrize("command", [["list"], ["verify"], ["verify", 2], ["show", 2], ["diff", 1, 2]])
    def test_a_command_takes_the_state_folder_and_the_checkpoint_folder(self, state, folder, command):
        shown = [
            run("checkpoints", *command, *how)
            for how in ([state], [folder], ["--path", folder], ["--path", state])
        ]
        assert {result.exit_code for result in shown} == {0}
        assert len({result.output for result in shown}) == 1

    def test_two_rounds_or_two_folders_are_too_many(self, state, folder):
        with pytest.raises(SettingsError, match="at most one round and one folder"):
            run("checkpoints", "verify", 1, 2, state)

    def test_a_rollback_and_an_export_take_a_path(self, state, folder, tmp_path):
        run("checkpoints", "export", 1, state, "--output", tmp_path / "model.npz")
        assert (tmp_path / "model.npz").is_file()
        assert "resumes at round 1" in run("checkpoints", "rollback", 1, state).output


class TestProcessLogs:
    def test_the_log_of_a_process_follows_that_of_its_previous_start(self, state):
        assert run("logs", state, "--process", "superlink").output.splitlines() == [
            "before",
            "INFO: started",
            "\\x1b]0;evil\\x07later",
        ]

    def test_it_may_be_cut_to_the_newest_lines(self, state):
        shown = run("logs", state, "--process", "superlink", "-n", 1).output
        assert shown == "\\x1b]0;evil\\x07later\n"

    def test_an_unknown_process_is_answered_with_those_that_are_there(self, state):
        with pytest.raises(StateError, match=r"one of superlink, supernode-0\. Did you mean superlink\?"):
            run("logs", state, "--process", "superlnk")

    def test_without_process_logs_it_says_where_they_are_on_a_vm(self, tmp_path):
        with pytest.raises(StateError, match="journalctl -u flower-superlink"):
            run("logs", tmp_path, "--process", "superlink")

    def test_a_name_is_no_way_out_of_the_folder(self, state):
        (state / "secret.log").write_text("secret\n")
        with pytest.raises(StateError, match="has no log of a process"):
            run("logs", state, "--process", "../secret")


def test_a_mistyped_command_is_answered_with_the_nearest():
    result = CliRunner().invoke(app, ["statsu"])
    assert result.exit_code == 2
    assert "Did you mean 'status'?" in result.output
