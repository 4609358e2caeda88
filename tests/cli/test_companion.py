"""With `oneflower up`: the settings are recorded once the training begins, and the dashboard is served."""

import urllib.request

import pytest

from oneflower.cli import companion
from oneflower.cli.companion import Companion
from oneflower.errors import StateError
from oneflower.journal import read_journal, reduce
from oneflower.journal.events import SettingRow, SettingsUsed
from oneflower.local_cluster.folder import StateFolder

from ..making import entry

ROWS = [SettingRow(variable="FL_SEED", value="7", source="context")]


def beside(tmp_path, said, *, page):
    return Companion(folder=StateFolder(tmp_path), settings=ROWS, page=page, say=said.append)


def test_nothing_is_written_before_the_training_has_begun(tmp_path):
    with beside(tmp_path, [], page=False):
        assert list(tmp_path.iterdir()) == []


def test_settings_and_software_are_written_once(tmp_path):
    with beside(tmp_path, [], page=False) as started:
        for _ in range(3):
            started.event(entry("cluster_started"))
    events = list(read_journal(tmp_path / "journal.jsonl"))
    assert [type(each.event) for each in events] == [SettingsUsed]
    view = reduce(events)
    assert view.settings == tuple(ROWS)
    assert {"Python", "oneflower", "flwr"} <= set(view.environment)


def test_the_dashboard_is_served_during_the_training(tmp_path):
    pytest.importorskip("uvicorn")
    said = []
    with beside(tmp_path, said, page=None) as started:
        started.event(entry("cluster_started"))
        address = said[0].removeprefix("dashboard: ")
        assert b"oneflower" in urllib.request.urlopen(address, timeout=30).read()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address, timeout=30)


def test_a_dashboard_that_cannot_start_ends_no_training(tmp_path, monkeypatch):
    server = pytest.importorskip("oneflower.monitor.web.server")

    def refuse(*_):
        raise StateError("no port")

    monkeypatch.setattr(server, "beside", refuse)
    said = []
    with beside(tmp_path, said, page=None) as started:
        started.event(entry("cluster_started"))
    assert said == ["no dashboard: no port"]


def test_a_dashboard_without_its_extra_is_refused_before_the_start(tmp_path, monkeypatch):
    def missing():
        raise StateError("oneflower[dashboard]")

    monkeypatch.setattr(companion, "_check_extra", missing)
    with pytest.raises(StateError, match="dashboard"), beside(tmp_path, [], page=True):
        pass
