"""The page over HTTP: it tells what the journal holds, to those who may know, and changes nothing."""

import http.client
import json
import socket
import threading
import time
from datetime import UTC, datetime

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from oneflower.errors import SettingsError, StateError
from oneflower.journal import Journal, TrainingState
from oneflower.monitor.web import server
from oneflower.monitor.web.access import Token, check_access
from oneflower.monitor.web.live import REMEMBERED, Live
from oneflower.settings.formats import is_loopback

from ...making import entry, event

TOKEN = "7f3a9c51e08b6d24"


@pytest.fixture
def port(journal, tmp_path):
    """The port of a running page without a token."""
    with server.beside(journal.path, tmp_path, 0) as address:
        port = int(address.rstrip("/").rpartition(":")[2])
        wait_until(lambda: b"a/b" in ask(port, "/").body)
        yield port


class Answer:
    def __init__(self, answer):
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()


def ask(port, path, method="GET", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers=given)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def wait_until(holds, timeout_s=30):
    limit = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.02)


class Reader:
    """Reads server-sent events; `with` hangs up."""

    def __init__(self, port, have=""):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.connection.request("GET", f"/events?have={have}")
        self.answer = self.connection.getresponse()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.answer.close()
        self.connection.close()

    def next(self):
        while line := self.answer.readline():
            if line.startswith(b"data: "):
                return json.loads(line[6:])
        return None


def test_the_first_page_is_complete(port):
    answer = ask(port, "/")
    assert answer.status == 200
    assert b"0 of 3 rounds are done" in answer.body


def test_a_reader_gets_only_what_changed(port, journal):
    with Reader(port) as reader:
        first = reader.next()
        assert {"headline", "tiles", "clients"} <= set(first["sections"])
        journal.append(event("round_started", round=1, rounds=3, clients=2))
        second = reader.next()
        while "doing" not in second["sections"]:
            second = reader.next()
    assert "Round 1 of 3" in second["sections"]["doing"]
    assert "settings" not in second["sections"]


def test_a_reader_that_was_away_goes_on_from_what_it_has(port):
    with Reader(port) as reader:
        version = reader.next()["version"]
    with Reader(port, version) as reader:
        assert reader.next()["sections"].keys().isdisjoint({"settings", "clients"})
    with Reader(port, "another-1") as reader:
        assert "settings" in reader.next()["sections"]


def test_only_the_last_pages_are_remembered(journal, tmp_path):
    with Live(journal.path, folder=tmp_path) as live:
        versions = []
        for number in range(REMEMBERED + 2):
            live.following._training.take(entry("cluster_started", nodes=number))
            versions.append(live.page().version)
        assert live.remembered(versions[0]) is None
        assert live.remembered(versions[-1]).version == versions[-1]


def test_a_page_is_of_the_whole_journal_however_long_it_takes_to_read(tmp_path, monkeypatch):
    """Half a journal would show rounds that are long past, and counters that jump."""
    journal = Journal(tmp_path / "journal.jsonl")
    for number in range(1, 6):
        journal.append(event("round_completed", round=number, rounds=9, valid=1, seconds=1.0))
    take = TrainingState.take

    def slowly(history, event):
        time.sleep(0.05)
        take(history, event)

    monkeypatch.setattr(TrainingState, "take", slowly)
    with Live(journal.path, folder=tmp_path) as live:
        assert "5 of 9 rounds" in live.page().sections["headline"]
        with live.view() as (view, _):
            assert view.done == 5


def test_a_reader_that_waits_for_the_journal_does_not_hold_the_end_up(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(event("cluster_started", nodes=1, fleet=""))

    def broken(history, event):
        raise OSError("the disk is gone")

    monkeypatch.setattr(TrainingState, "take", broken)
    monkeypatch.setattr(threading, "excepthook", lambda _args: None)
    with Live(journal.path, folder=tmp_path) as live:
        assert "No training yet" in live.page().sections["headline"]


def test_readers_do_not_hold_the_server_up(journal, tmp_path):
    """Ctrl-C ends the server although a page is open."""
    with server.beside(journal.path, tmp_path, 0) as address:
        reader = Reader(int(address.rstrip("/").rpartition(":")[2]))
        assert reader.next()
    reader.__exit__()
    assert "dashboard" not in {thread.name for thread in threading.enumerate()}


def test_the_browser_is_told_to_run_our_script_only(port):
    headers = ask(port, "/").headers
    assert "default-src 'none'; script-src 'self'; style-src 'sha256-" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/events", "/metrics", "/report", "/report.json"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(port, path, method):
    assert ask(port, path, method).status == 405


def test_a_name_that_was_bent_to_this_machine_is_refused(port):
    """Else a page elsewhere could read the training through the operator's browser (DNS rebinding)."""
    assert ask(port, "/", Host="evil.example:80").status == 421
    assert ask(port, "/", Host=f"localhost:{port}").status == 200
    assert ask(port, "/", Host="[::1]:1").status == 200


def test_the_metrics_and_reports_are_served(port):
    assert b'oneflower_training_info{app="a/b",strategy="FedAvg"} 1.0' in ask(port, "/metrics").body
    assert b"Final model" in ask(port, "/report").body
    told = json.loads(ask(port, "/report.json").body)
    assert (told["training"]["app"], told["training"]["rounds"]) == ("a/b", 3)


def test_the_page_is_sent_small(port):
    packed = ask(port, "/", Accept_Encoding="gzip")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.body) < 10_000


@pytest.fixture
def guarded(journal, tmp_path):
    """The port of a page with a token."""
    listener = server.listen("127.0.0.1", 0)
    with Live(journal.path, folder=tmp_path) as live:
        running = server._server(live, Token(TOKEN))
        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()
        wait_until(lambda: running.started)
        yield listener.getsockname()[1]
        running.should_exit = True
        thread.join(30)
        listener.close()


@pytest.mark.parametrize("path", ["/", "/events", "/metrics", "/report", "/report.json", "/assets/page.js"])
def test_without_the_token_nothing_is_told(guarded, path):
    answer = ask(guarded, path)
    assert answer.status == 401
    assert b"a/b" not in answer.body
    assert ask(guarded, path, Authorization="Bearer 7f3a9c51e08b6d2X").status == 401


def test_a_browser_is_led_to_the_form(guarded):
    answer = ask(guarded, "/", Accept="text/html")
    assert (answer.status, answer.headers["Location"]) == (303, "login")
    assert b'name="token"' in ask(guarded, "/login").body


def test_a_program_sends_the_token_as_bearer(guarded):
    assert ask(guarded, "/metrics", Authorization=f"Bearer {TOKEN}").status == 200


def test_the_token_becomes_a_cookie_that_does_not_hold_it(guarded):
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    assert ask(guarded, "/login", "POST", "token=wrong", **form).status == 403
    answer = ask(guarded, "/login", "POST", f"token={TOKEN}", **form)
    cookie = answer.headers["Set-Cookie"]
    assert answer.status == 303
    assert TOKEN not in cookie
    assert {"HttpOnly", "SameSite=strict"} <= {part.strip() for part in cookie.split(";")}
    wait_until(lambda: b"a/b" in ask(guarded, "/", Cookie=cookie.partition(";")[0]).body)
    assert ask(guarded, "/", Cookie=f"{Token(TOKEN).cookie}=0").status == 401


def test_a_cookie_of_an_earlier_start_opens_nothing(guarded):
    """Whoever listened on the port meanwhile has it: browsers send cookies to all who answer there."""
    earlier = Token(TOKEN)
    assert ask(guarded, "/", Cookie=f"{earlier.cookie}={earlier.session()}").status == 401
    assert b"once more after each start" in ask(guarded, "/events").body


def test_whether_the_server_lives_is_no_secret(guarded):
    assert ask(guarded, "/health").body == b"ok\n"


def test_a_network_needs_a_token():
    with pytest.raises(SettingsError, match=r"--host 0\.0\.0\.0 .* token"):
        check_access("0.0.0.0", "")
    for weak in ("short", "0123456789abcdef", "passwordpassword", "a" * 40):
        with pytest.raises(SettingsError, match="openssl rand"):
            check_access("0.0.0.0", weak)
    check_access("0.0.0.0", TOKEN)
    check_access("127.0.0.1", "")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_is_no_network(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "superlink", ""])
def test_everything_else_is_a_network(host):
    assert not is_loopback(host)


def test_a_taken_port_is_said(tmp_path):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(StateError, match="choose another with --port"):
            server.listen("127.0.0.1", holder.getsockname()[1])


def test_silence_is_shown_although_nothing_is_written(journal, tmp_path):
    clock = [datetime.now(UTC)]
    live = Live(journal.path, folder=tmp_path, now=lambda: clock[0])
    with live:
        wait_until(lambda: "a/b" in live.page().sections["headline"])
        assert "No event for" not in live.page().sections["attention"]
        clock[0] = datetime.fromtimestamp(clock[0].timestamp() + 600, UTC)
        assert "No event for 10 min" in live.page().sections["attention"]
