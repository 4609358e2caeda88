"""Readers that are many, slow or guessing cost the page little, and the training nothing."""

import http.client
import resource
import socket
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from oneflower.journal import Journal
from oneflower.monitor.web import attempts, connections, server
from oneflower.monitor.web.access import Token
from oneflower.monitor.web.attempts import Attempts
from oneflower.monitor.web.live import Live

from ...making import event

TOKEN = "7f3a9c51e08b6d24"
MOST = 16


@pytest.fixture
def token():
    return Token(TOKEN)


@pytest.fixture
def page(tmp_path, monkeypatch, token):
    """The port of a page with a token that holds few connections and waits for no request for long."""
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", MOST)
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(event("training_started", round=0, rounds=3, strategy="FedAvg", parameters={}, app="a/b"))
    listener = server.listen("127.0.0.1", 0)
    with Live(journal.path, folder=tmp_path) as live:
        running = server._server(live, token)
        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()
        until(lambda: running.started)
        yield listener.getsockname()[1]
        running.should_exit = True
        thread.join(30)
        listener.close()


def until(holds, timeout_s=30):
    limit = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.02)


def ask(port, path="/health", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST" if body else "GET", path, body=body, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()


def is_closed(connection):
    connection.setblocking(False)
    try:
        return connection.recv(4096) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_the_descriptors_of_the_page_are_bounded_and_half_open_connections_make_room(page):
    """1,100 of them took every descriptor of `oneflower up`, which ended with "too many open files"."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    held = [socket.create_connection(("127.0.0.1", page)) for _ in range(10 * MOST)]
    try:
        assert ask(page).status == 200
        until(lambda: sum(map(is_closed, held)) >= 9 * MOST)
        taken = len(list(Path("/proc/self/fd").iterdir())) - before - len(held)
        assert taken <= MOST
        assert ask(page).status == 200
    finally:
        for each in held:
            each.close()


def test_readers_at_work_are_not_ended_by_half_open_connections(page):
    reader = http.client.HTTPConnection("127.0.0.1", page, timeout=30)
    reader.request("GET", "/events", headers={"Authorization": f"Bearer {TOKEN}"})
    answer = reader.getresponse()
    assert answer.readline().startswith(b"data:")
    held = [socket.create_connection(("127.0.0.1", page)) for _ in range(3 * MOST)]
    until(lambda: sum(map(is_closed, held)) >= 2 * MOST)
    assert not is_closed(reader.sock)
    answer.close()
    reader.close()
    for each in held:
        each.close()


def test_where_all_are_at_work_the_next_one_is_dropped(page):
    readers = []
    for _ in range(MOST):
        readers.append(http.client.HTTPConnection("127.0.0.1", page, timeout=30))
        readers[-1].request("GET", "/events", headers={"Authorization": f"Bearer {TOKEN}"})
        readers[-1].getresponse().readline()
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        ask(page)
    readers[0].sock.shutdown(socket.SHUT_RDWR)

    def answers():
        try:
            return ask(page).status == 200
        except (http.client.RemoteDisconnected, ConnectionError):
            return False

    until(answers)
    for each in readers:
        each.close()


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\ntoken=",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET / HT",
    ],
)
def test_a_request_that_does_not_come_to_its_end_is_dropped(page, monkeypatch, begun):
    monkeypatch.setattr(connections, "REQUEST_S", 0.3)
    with socket.create_connection(("127.0.0.1", page)) as slow:
        slow.sendall(begun)
        until(lambda: is_closed(slow))


def test_a_reader_without_news_is_not_taken_for_a_slow_one(page, monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_S", 0.2)
    reader = http.client.HTTPConnection("127.0.0.1", page, timeout=30)
    reader.request("GET", "/events", headers={"Authorization": f"Bearer {TOKEN}"})
    answer = reader.getresponse()
    assert answer.readline().startswith(b"data:")
    time.sleep(1.0)
    assert not is_closed(reader.sock)
    answer.close()
    reader.close()


def test_few_files_leave_few_connections(monkeypatch):
    limits = {"soft": 1024}
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limits["soft"], resource.RLIM_INFINITY))
    assert connections.most_connections() == 256
    limits["soft"] = 256
    assert connections.most_connections() == 64
    limits["soft"] = resource.RLIM_INFINITY
    assert connections.most_connections() == 256


@pytest.mark.parametrize("headers", [{}, {"X-Forwarded-For": "10.0.0.{}"}])
def test_wrong_tokens_are_slowed_down_whatever_address_they_claim(page, headers):
    """A program could try thousands a second."""
    claimed = [{name: value.format(n) for name, value in headers.items()} for n in range(20)]
    codes = [ask(page, "/metrics", Authorization="Bearer x", **claim).status for claim in claimed]
    assert codes[0] == 401
    assert codes.count(401) <= attempts.FREE_TRIES + 2
    assert set(codes) == {401, 429}
    answer = ask(page, "/metrics", Authorization=f"Bearer {TOKEN}")
    assert answer.status == 429, "not compared: guessing in parallel must gain nothing"
    assert 1 <= int(answer.headers["Retry-After"]) <= 16


def test_a_cookie_opens_the_page_also_while_others_guess_from_the_same_address(page, token):
    cookie = f"{token.cookie}={token.session()}"
    codes = [ask(page, "/login", body="token=wrong").status for _ in range(attempts.FREE_TRIES + 3)]
    assert codes[-1] == 429
    assert ask(page, "/metrics", Cookie=cookie).status == 200


class TestAttempts:
    @pytest.fixture
    def clock(self):
        return [0.0]

    @pytest.fixture
    def tries(self, clock):
        return Attempts(clock=lambda: clock[0])

    def test_the_pause_doubles_and_has_a_longest(self, tries, clock):
        pauses = []
        for _ in range(9):
            tries.note("10.0.0.1", right=False)
            pauses.append(tries.pause_s("10.0.0.1"))
            clock[0] += pauses[-1]
            assert tries.pause_s("10.0.0.1") == 0
        assert pauses == [0, 0, 1, 2, 4, 8, 16, 16, 16]
        assert tries.pause_s("10.0.0.2") == 0

    def test_the_right_token_and_ten_minutes_make_good(self, tries, clock):
        tries.note("10.0.0.1", right=False)
        tries.note("10.0.0.1", right=True)
        assert len(tries) == 0
        for _ in range(5):
            tries.note("10.0.0.1", right=False)
        clock[0] += attempts.FORGOTTEN_AFTER_S + 1
        for _ in range(attempts.FREE_TRIES):
            assert tries.pause_s("10.0.0.1") == 0
            tries.note("10.0.0.1", right=False)
        assert tries.pause_s("10.0.0.1") == 1

    def test_a_network_of_ipv6_is_one_address_and_a_mapped_one_is_its_ipv4_address(self, tries):
        for _ in range(attempts.FREE_TRIES):
            tries.note("2001:db8::1", right=False)
            tries.note("::ffff:10.0.0.1", right=False)
        assert tries.pause_s("2001:db8::ffff:2") > 0
        assert tries.pause_s("2001:db8:0:1::1") == 0
        assert tries.pause_s("10.0.0.1") > 0

    def test_memory_is_bounded(self, tries):
        for number in range(3 * attempts.MOST_ADDRESSES):
            tries.note(f"address-{number}", right=False)
        assert len(tries) == attempts.MOST_ADDRESSES
