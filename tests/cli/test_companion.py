"""With `oneflower up`: the settings are recorded once the training begins, and the dashboard is served."""

import http.cookiejar
import socket
import stat
import sys
import urllib.error
import urllib.request

import pytest

from oneflower.cli import companion
from oneflower.cli.companion import Companion
from oneflower.errors import StateError
from oneflower.journal import read_journal, reduce
from oneflower.journal.events import SettingRow, SettingsUsed
from oneflower.local_cluster.folder import StateFolder
from oneflower.local_cluster.plan import DashboardPlace

from ..making import entry

GIVEN = "7f3a9c51e08b6d24"
ROWS = [SettingRow(variable="FL_SEED", value="7", source="context")]


def beside(tmp_path, said, *, page, **place):
    return Companion(
        folder=StateFolder(tmp_path),
        settings=ROWS,
        page=page,
        say=said.append,
        place=DashboardPlace(**place),
    )


def status(address, **headers):
    request = urllib.request.Request(address, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def opened(link):
    """Follow a link as a browser does, which keeps cookies; return the page and its address."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with browser.open(link, timeout=30) as answer:
        return answer.read(), answer.url


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
        link = said[0].removeprefix("dashboard: ")
        page, address = opened(link)
        assert b"oneflower" in page
        assert address.startswith(link.partition("?")[0])
        assert "?" not in address, "the token does not stay in the address"
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address, timeout=30)


@pytest.mark.parametrize("path", ["", "report", "report.json", "metrics", "events", "assets/page.js"])
def test_another_user_of_the_machine_reads_nothing_of_the_dashboard(tmp_path, path):
    """Loopback is no proof of who asks: every local user read the page, its reports and its metrics."""
    pytest.importorskip("uvicorn")
    said = []
    with beside(tmp_path, said, page=None) as started:
        started.event(entry("cluster_started"))
        address = said[0].removeprefix("dashboard: ").partition("?")[0]
        assert status(address + path) == 401
        assert status(f"{address}?token={'0' * 32}") == 403
        token = (tmp_path / "dashboard-token").read_text().strip()
        if path != "events":
            assert status(address + path, Authorization=f"Bearer {token}") in (200, 503)


def cookies_of(link):
    """Open a link as a browser does; return its cookies."""
    jar = http.cookiejar.CookieJar()
    urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar)).open(link, timeout=30).close()
    return list(jar)


def test_what_was_sent_while_nothing_ran_opens_nothing_after_a_restart(tmp_path):
    """Another user who took the port meanwhile was sent the cookie, and read the page after the restart."""
    pytest.importorskip("uvicorn")
    links, cookies = [], []
    for _ in range(2):
        said = []
        with beside(tmp_path, said, page=None) as started:
            started.event(entry("cluster_started"))
            link = said[0].removeprefix("dashboard: ")
            address = link.partition("?")[0]
            for cookie in cookies:
                for path in ("/", cookie.path):
                    sent = {"Cookie": f"{cookie.name}={cookie.value}"}
                    assert status(address.rstrip("/") + path.rstrip("/") + "/metrics", **sent) == 401
            for earlier in links:
                assert status(f"{address}?{earlier}") == 403
            cookies += cookies_of(link)
            links.append(link.partition("?")[2])
    assert len({cookie.value for cookie in cookies}) == len(set(links)) == 2
    assert stat.S_IMODE((tmp_path / "dashboard-token").stat().st_mode) == 0o600


def test_an_open_page_of_an_earlier_start_sends_nothing_of_this_one(tmp_path):
    """A browser sends a cookie to all ports: the page on a port that another user holds now asked with it."""
    pytest.importorskip("uvicorn")
    paths = []
    for _ in range(2):
        said = []
        with beside(tmp_path, said, page=None) as started:
            started.event(entry("cluster_started"))
            paths += [cookie.path for cookie in cookies_of(said[0].removeprefix("dashboard: "))]
    assert "/" not in paths
    assert len(set(paths)) == 2


def test_the_operators_address_and_token_are_used(tmp_path):
    """They were ignored without a word."""
    pytest.importorskip("uvicorn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = []
    with beside(tmp_path, said, page=None, port=port, token=GIVEN, given=("FL_DASHBOARD_TOKEN",)) as started:
        started.event(entry("cluster_started"))
        assert said == [f"dashboard: http://127.0.0.1:{port}/ (asks for FL_DASHBOARD_TOKEN)"]
        assert status(f"http://127.0.0.1:{port}/?token={GIVEN}") == 401, "it is never a part of a link"
        assert status(f"http://127.0.0.1:{port}/", Authorization=f"Bearer {GIVEN}") == 200
    assert not (tmp_path / "dashboard-token").exists()


def test_a_taken_port_that_the_operator_chose_is_said(tmp_path):
    pytest.importorskip("uvicorn")
    said = []
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with beside(tmp_path, said, page=None, port=port, given=("FL_DASHBOARD_ADDRESS",)) as started:
            started.event(entry("cluster_started"))
    assert f"127.0.0.1:{port}" in said[0]
    assert "FL_DASHBOARD_ADDRESS; a free port is used now" in said[0]
    assert said[1].startswith("dashboard: http://127.0.0.1:")


def test_a_variable_without_effect_is_said_where_the_extra_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "oneflower.monitor.web.server", None)
    said = []
    with beside(tmp_path, said, page=None, given=("FL_DASHBOARD_TOKEN",)) as started:
        started.event(entry("cluster_started"))
    assert "FL_DASHBOARD_TOKEN has no effect" in said[0]
    assert "oneflower[dashboard]" in said[0]


def test_a_dashboard_that_cannot_start_ends_no_training(tmp_path, monkeypatch):
    server = pytest.importorskip("oneflower.monitor.web.server")

    def refuse(*_, **__):
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
