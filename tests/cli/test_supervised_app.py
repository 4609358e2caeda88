"""`oneflower supervise` with an own app, with adoption, and with what is refused before anything starts."""

import json
import sys

import pytest

from oneflower.cli.main import main
from oneflower.codes import Phase
from oneflower.journal import read_journal, reduce
from oneflower.opennebula.appliance.shown import shown
from oneflower.supervisor.adopted import LET_GO_NAME, Adopted, Ledger, keep

from ..supervisor.test_own_app import FILES, PYPROJECT


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ONEFLOWER_APPS", str(tmp_path / "apps"))
    monkeypatch.setenv("ONEFLOWER_PACKAGES", str(tmp_path / "packages"))

    def invoke(*words, **context):
        command = ["oneflower", "supervise", "--state", str(tmp_path / "state"), *words]
        monkeypatch.setattr(sys, "argv", command)
        for name, text in context.items():
            monkeypatch.setenv(name, text)
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        output = capsys.readouterr()
        return code, output.out + output.err

    return invoke


def state_of(tmp_path):
    return reduce(read_journal(tmp_path / "state" / "journal.jsonl"))


def write(tmp_path, project=PYPROJECT):
    for name, text in {**FILES, "pyproject.toml": project}.items():
        path = tmp_path / "apps" / "tiny" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_an_app_that_is_not_there_is_told_once_and_may_come(run, tmp_path):
    """Exit code 7 is one after which the service manager starts it again."""
    (tmp_path / "apps").mkdir()
    for _ in range(3):
        assert run(FL_APP="tiny")[0] == 7
    state = state_of(tmp_path)
    told = shown(state)
    assert (told["FL_STATE"], state.events) == ("failed", 1)
    assert "FL_APP=tiny cannot be read" in told["FL_ERROR"]
    assert state.phase is Phase.FAILED


def test_packages_that_are_missing_are_listed_before_the_start(run, tmp_path):
    write(tmp_path, PYPROJECT.replace('version = "1.2.0"', 'version = "1.2.0"\ndependencies = ["absent>=3"]'))
    code, _ = run(FL_APP="tiny")
    assert code == 2
    assert "absent: wanted >=3, installed none" in shown(state_of(tmp_path))["FL_ERROR"]


@pytest.mark.parametrize("context", [{"FL_APP": "tiny"}, {"FL_USE_CASE": "image-classification"}])
def test_what_has_an_app_adopts_nothing(run, tmp_path, context):
    code, told = run("--adopt", str(tmp_path / "ffs"), **context)
    assert code == 2
    assert "--adopt with" in told


def test_an_adopted_run_is_let_go_and_another_one_is_not(run, tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    keep(folder, Ledger(current=Adopted(run=77, bundle=b"bundle", override={})))
    code, told = run("--forget", "78")
    assert (code, "expected 77" in told) == (2, True)
    assert not (folder / LET_GO_NAME).exists()
    assert run("--forget", "77")[0] == 0
    assert json.loads((folder / LET_GO_NAME).read_text())["runs"] == [77]
