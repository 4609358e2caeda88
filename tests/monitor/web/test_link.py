"""The link of `oneflower up`: who has it reads the page, and who has not costs the training nothing."""

import asyncio
import contextlib
import http.client
import logging
import socket
import urllib.parse

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from oneflower.monitor.web import app, server
from oneflower.monitor.web.access import Token
from oneflower.monitor.web.log_lines import EVERY_S, MOST_KINDS, Sparing
from oneflower.monitor.web.renderings import Renderings

DRAWN = "7f3a9c51e08b6d247f3a9c51e08b6d24"


@pytest.fixture
def port(journal, tmp_path):
    with server.beside(journal.path, tmp_path, 0, token=Token.drawn(DRAWN)) as link:
        yield int(link.partition("127.0.0.1:")[2].partition("/")[0])


def ask(port, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(
            "GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()}
        )
        answer = connection.getresponse()
        answer.body = answer.read()
        return answer
    finally:
        connection.close()


def answers_to(port, request, times):
    """Send a request so many times at once; return how many answers come before the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request * times)
        received = b""
        while piece := connection.recv(1 << 16):
            received += piece
    return received.count(b"HTTP/1.1 ")


def test_the_link_becomes_a_cookie_that_does_not_hold_the_token(port):
    inside = ask(port, f"/?token={DRAWN}")
    room = inside.headers["Location"].removeprefix(".").partition("?")[0]
    assert inside.status == 303
    assert "Set-Cookie" not in inside.headers
    answer = ask(port, f"{room}?token={DRAWN}")
    assert (answer.status, answer.headers["Location"]) == (303, "./")
    assert "Path" not in answer.headers["Set-Cookie"], "its default is the room, behind a proxy, too"
    assert DRAWN not in answer.headers["Set-Cookie"]
    parts = {part.strip() for part in answer.headers["Set-Cookie"].split(";")}
    assert {"HttpOnly", "SameSite=lax"} <= parts
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    for path in ("", "report", "assets/page.js"):
        assert ask(port, room + path, Cookie=cookie).status == 200
        assert ask(port, room + path).status == 401


@pytest.mark.parametrize("path", ["/", "/events", "/metrics", "/report", "/report.json", "/assets/page.js"])
def test_without_the_link_nothing_is_shown(port, path):
    answer = ask(port, path)
    assert answer.status == 401
    assert b"a/b" not in answer.body
    assert ask(port, f"{path}?token=").status == 401
    if path != "/":
        assert ask(port, f"{path}?token={DRAWN}").status == 401, "the page alone has a link"


def test_a_browser_without_the_link_reads_where_it_is(port):
    assert ask(port, "/", Accept="text/html").headers["Location"] == "login"
    assert b"dashboard-token" in ask(port, "/login").body
    assert b"printed last" in ask(port, "/events").body


def test_the_form_leads_into_the_room_too(port):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("POST", "/login", f"token={DRAWN}")
        answer = connection.getresponse()
    assert answer.headers["Location"] == ask(port, f"/?token={DRAWN}").headers["Location"]


@pytest.mark.parametrize("path", ["/7f3a/", "/7f3a/login", "/7f3a/assets/page.js"])
def test_an_address_of_an_earlier_start_is_led_to_the_form(port, path):
    location = ask(port, path, Accept="text/html").headers["Location"]
    assert urllib.parse.urljoin(f"http://x{path}", location) == "http://x/login"
    assert ask(port, path).status == 401


def test_another_user_cannot_keep_the_owner_out_with_wrong_tokens(port):
    """All users of a machine have one address on loopback: none may wait for what another one sends."""
    for _ in range(20):
        assert ask(port, "/?token=wrong").status == 403
        assert ask(port, "/metrics", Authorization="Bearer wrong").status == 401
    assert ask(port, f"/?token={DRAWN}").status == 303


def test_two_pages_on_one_machine_do_not_take_each_others_cookie():
    """A browser sends a cookie to every port of a host."""
    assert Token.drawn(DRAWN).cookie != Token.drawn(DRAWN[::-1]).cookie


@pytest.mark.parametrize("path", ["/", "/report", "/login", "/health", "/?token=wrong"])
def test_a_thousand_requests_sent_at_once_without_the_token_get_one_answer(port, path):
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    assert answers_to(port, request, 1000) == 1


@pytest.mark.parametrize("name", ["render_report", "full_document"])
def test_many_readers_share_one_rendering(journal, tmp_path, monkeypatch, name):
    """60 connections with pipelined requests for the report took 10 s of a processor."""
    made = []
    original = getattr(app, name)
    monkeypatch.setattr(app, name, lambda *given, **named: made.append(1) or original(*given, **named))
    monkeypatch.setattr("oneflower.monitor.web.renderings.SAME_FOR_S", 3600.0)
    path = "report" if name == "render_report" else "report.json"
    with server.beside(journal.path, tmp_path, 0) as address:
        port = int(address.rstrip("/").rpartition(":")[2])
        request = f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        last = f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(request * 49 + last)
            received = b""
            while piece := connection.recv(1 << 16):
                received += piece
    assert received.count(b"HTTP/1.1 200") == 50
    assert len(made) <= 3, "one for each change: the folder of checkpoints is looked at meanwhile"


class TestRenderings:
    @pytest.fixture
    def clock(self):
        return [0.0]

    @pytest.fixture
    def state(self):
        return [0]

    @pytest.fixture
    def made(self):
        return []

    @pytest.fixture
    def get(self, clock, state, made):
        renderings = Renderings(lambda: state[0], clock=lambda: clock[0])

        def get(*, kind="report", cost_s=0.01):
            async def render():
                made.append(kind)
                clock[0] += cost_s
                return f"{kind} {state[0]}"

            return asyncio.run(renderings.get(kind, render))

        return get

    def test_a_change_is_shown_at_once_where_it_is_cheap(self, get, state, clock):
        assert get(cost_s=0.01) == "report 0"
        state[0], clock[0] = 1, clock[0] + 0.11
        assert get() == "report 1"

    def test_a_costly_one_is_kept_ten_times_as_long_as_it_took(self, get, state, clock, made):
        get(cost_s=2.0)
        state[0] = 1
        for _ in range(19):
            clock[0] += 1.0
            assert get() == "report 0"
        clock[0] += 2.0
        assert get() == "report 1"
        assert len(made) == 2

    def test_without_a_change_a_second_passes_before_ages_are_computed_again(self, get, clock, made):
        get(cost_s=0.0)
        clock[0] += 0.9
        get()
        assert len(made) == 1
        clock[0] += 0.2
        get()
        assert len(made) == 2

    def test_each_kind_is_kept_by_itself(self, get, made):
        assert get(kind="report") != get(kind="metrics")
        assert made == ["report", "metrics"]

    def test_an_error_is_not_kept(self):
        renderings = Renderings(lambda: 0)

        async def fails():
            raise ValueError

        async def works():
            return "x"

        async def both():
            with pytest.raises(ValueError, match=r"^$"):
                await renderings.get("report", fails)
            return await renderings.get("report", works)

        assert asyncio.run(both()) == "x"


class TestLogLines:
    @staticmethod
    def record(text):
        return logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, text, (), None)

    def test_bad_requests_write_one_line_a_minute(self):
        clock = [0.0]
        sparing = Sparing(clock=lambda: clock[0])
        passed = [sparing.filter(self.record("Invalid HTTP request received.")) for _ in range(1000)]
        assert passed.count(True) == 1
        assert sparing.filter(self.record("another line"))
        clock[0] += EVERY_S
        again = self.record("Invalid HTTP request received.")
        assert sparing.filter(again)
        assert again.getMessage() == (
            "Invalid HTTP request received. (999 more since the last line of this kind)"
        )

    def test_kinds_of_lines_are_bounded(self):
        sparing = Sparing()
        for number in range(10 * MOST_KINDS):
            sparing.filter(self.record(f"line {number}"))
        assert len(sparing._lines) <= MOST_KINDS

    def test_the_server_of_a_page_is_limited(self, port):
        written = []
        handler = logging.Handler()
        handler.emit = written.append
        logger = logging.getLogger("uvicorn.error")
        logger.addHandler(handler)
        try:
            for _ in range(5):
                answers_to(port, b"\x16\x03\x01 no http\r\n\r\n", 1)
        finally:
            logger.removeHandler(handler)
        assert len(written) <= 1
