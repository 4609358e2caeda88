"""What a training was set to is written into its journal, without secrets, also by a supervisor."""

import os

import pytest

from oneflower.cli import supervise as command
from oneflower.cli.main import main
from oneflower.cli.settings_used import setting_rows
from oneflower.journal import read_journal
from oneflower.settings import TABLE, resolve
from oneflower.settings.variable import MASK

TOKEN = "7f3a9c51e08b6d24"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.removeprefix("ONEAPP_").startswith(("FL_", "FLOWER_", "ML_", "ONEFLOWER_")):
            monkeypatch.delenv(name)


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["oneflower", *arguments])
    with pytest.raises(SystemExit, match=r"^0$"):
        main()


def rows_of(**environ):
    resolution = resolve(environ)
    return {row.variable: row for row in setting_rows(resolution, resolution.settings)}


def test_every_variable_has_its_value_and_its_source():
    rows = rows_of(FL_STRATEGY="Krum", FL_NUM_ROUNDS="7")
    assert list(rows) == [variable.name for variable in TABLE]
    assert (rows["FL_NUM_ROUNDS"].value, rows["FL_NUM_ROUNDS"].source) == ("7", "environment")
    assert (rows["FL_SEED"].value, rows["FL_SEED"].source) == ("42", "default")
    assert rows["FL_MIN_FIT_CLIENTS"].source == "default, raised for the strategy"


def test_a_secret_is_masked():
    assert rows_of(FL_DASHBOARD_TOKEN=TOKEN)["FL_DASHBOARD_TOKEN"].value == MASK


def test_a_supervisor_writes_what_it_trains_with(tmp_path, monkeypatch):
    """No SuperLink is there: the settings are in the journal before one is looked for."""
    monkeypatch.setattr(command, "_supervise", lambda *_, **__: None)
    monkeypatch.setenv("FL_USE_CASE", "image-classification")
    monkeypatch.setenv("FL_DASHBOARD_TOKEN", TOKEN)
    run(monkeypatch, "supervise", "--state", str(tmp_path))
    journal = tmp_path / "journal.jsonl"
    (entry,) = read_journal(journal)
    event = entry.event
    used = {row.variable: (row.value, row.source) for row in event.settings}
    assert used["FL_USE_CASE"] == ("image-classification", "environment")
    assert used["--app"][0].startswith("oneflower/image-classification")
    assert TOKEN not in journal.read_text()
    assert "flwr" in event.environment

    report = tmp_path / "report.html"
    run(monkeypatch, "report", "--journal", str(journal), "--output", str(report))
    assert "FL_USE_CASE" in report.read_text()
