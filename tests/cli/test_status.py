"""`oneflower status` and `oneflower logs` read a journal, wherever it is named."""

import json

import pytest
from typer.testing import CliRunner

from oneflower.cli.main import app
from oneflower.codes import StopReason
from oneflower.errors import StateError
from oneflower.journal import Journal

from ..making import event


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path / "state" / "journal.jsonl")
    made.append(
        event("training_started", round=0, rounds=3, strategy="FedAvg", parameters={}, app="tests/tiny")
    )
    made.append(event("client_failed", round=1, client="77", reason="no answer"))
    return made.path


def run(*arguments, **environ):
    return CliRunner().invoke(app, list(arguments), env=environ, catch_exceptions=False)


@pytest.mark.parametrize("how", ["state", "journal", "environment"])
def test_the_journal_may_be_named_in_three_ways(journal, how):
    options = {"state": ["--state", str(journal.parent)], "journal": ["--journal", str(journal)]}.get(how, [])
    environ = {"ONEFLOWER_JOURNAL": str(journal)} if how == "environment" else {}
    result = run("status", *options, **environ)
    assert result.exit_code == 0
    assert "tests/tiny, FedAvg" in result.output
    assert "no answer" in result.output


def test_json_is_one_object(journal):
    assert json.loads(run("status", "--json", "--journal", str(journal)).output)["training"]["rounds"] == 3


def test_logs_are_lines_and_may_be_cut_to_the_newest(journal):
    assert len(run("logs", "--journal", str(journal)).output.splitlines()) == 2
    (line,) = run("logs", "--journal", str(journal), "-n", "1").output.splitlines()
    assert "client 77" in line
    events = run("logs", "--json", "--journal", str(journal)).output.splitlines()
    assert [json.loads(event)["event"] for event in events] == ["training_started", "client_failed"]


@pytest.mark.parametrize("command", ["status", "logs"])
def test_no_journal_is_an_error_that_names_it(tmp_path, command):
    with pytest.raises(StateError, match=r"journal\.jsonl"):
        run(command, "--state", str(tmp_path))


def test_every_label_stands_apart_from_its_text(journal):
    why = {"stopped": StopReason.NO_IMPROVEMENT, "because": "acc has not improved"}
    Journal(journal).append(event("training_finished", round=2, rounds=3, sha256="ab", path="/m.npz", **why))
    screen = run("status", "--journal", str(journal)).output
    assert "stopped early  after round 2: acc has not improved" in screen
