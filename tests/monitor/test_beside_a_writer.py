"""Readers beside a writer that is killed and a journal that is cut, replaced, rotated and taken away.

Nothing ends with a traceback, no thread dies, no answer is 500, and nothing is claimed from half a picture:
the writer's rounds are 1, 2, 3, ..., so a reader that leaves one out, or sees fewer than before, read half.
"""

import ctypes
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest

from oneflower.codes import ENDED, Phase
from oneflower.errors import StateError
from oneflower.journal import Journal, read_journal, reduce
from oneflower.monitor.export import short_document
from oneflower.monitor.html.report import render_report
from oneflower.monitor.state.following import Following

from ..making import event

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TOTAL = 1_000_000
WAIT_S = 60.0
# It goes on after the last round that is in the journal, as a training does after its last checkpoint.
WRITER = """
import sys, time
from pathlib import Path
from oneflower.journal import Journal, read_journal
from oneflower.journal.events import ReplyReceived, RoundCompleted, RoundStarted
from oneflower.journal.events import TrainingResumed, TrainingStarted
from oneflower.quality import Metric, Origin
path, most = Path(sys.argv[1]), int(sys.argv[2])
done = max((e.event.round for e in read_journal(path) if isinstance(e.event, RoundCompleted)), default=0)
journal = Journal(path, max_bytes=most, old_files=99)
begun = TrainingResumed if done else TrainingStarted
journal.append(begun(round=done, rounds=1000000, strategy="FedAvg", app="a/b"))
for number in range(done + 1, 1000000):
    time.sleep(0.002)
    journal.append(RoundStarted(round=number, rounds=1000000, clients=1))
    journal.append(ReplyReceived(round=number, client="1", seconds=0.1))
    loss = Metric(Origin.CENTRAL, "loss", 1 / number)
    journal.append(RoundCompleted(round=number, rounds=1000000, valid=1, seconds=0.1, metrics=(loss,)))
"""


class Writer:
    """A process that appends as fast as it can."""

    def __init__(self, path, max_bytes=32 * 1024 * 1024):
        self.command = [sys.executable, "-c", WRITER, str(path), str(max_bytes)]
        self.process = None

    def start(self):
        self.process = subprocess.Popen(self.command, stderr=subprocess.PIPE)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        told = self.process.stderr.read().decode()
        self.process.stderr.close()
        assert "Traceback" not in told, told


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "journal.jsonl"


@pytest.fixture
def writer(path):
    made = Writer(path)
    made.start()
    wait_until(path.exists)
    yield made
    if made.process.poll() is None:
        made.kill()


def wait_until(holds):
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def check(view, before=0):
    """Prove that a picture is whole, and return how far the training is in it."""
    assert sorted(view.rounds) == list(range(1, view.done + 1))
    assert view.done >= before
    assert (view.app, view.strategy) == ("a/b", "FedAvg")
    assert view.phase not in ENDED | {Phase.NOTHING}
    return view.done


def swap(one, other):
    """Exchange two names in one step."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2) == 0, os.strerror(
        ctypes.get_errno()
    )


@pytest.fixture
def nowhere(path):
    """A folder that takes the journal's place, which root cannot read either."""
    folder = path.with_name("away")

    def hide():
        if not folder.exists():
            folder.mkdir()
        swap(path, folder)

    return hide


@pytest.mark.parametrize("max_bytes", [200_000, 10**9], ids=["rotating", "one file"])
def test_a_writer_that_is_killed_again_and_again_leaves_whole_pictures(path, max_bytes):
    rng, done = random.Random(5), 0
    with Following(path) as following:
        for _ in range(6):
            writer = Writer(path, max_bytes)
            writer.start()
            wait_until(lambda before=done: reduce(read_journal(path)).done > before)
            for _ in range(rng.randrange(3, 8)):
                view = reduce(read_journal(path))
                done = check(view, done)
                short_document(view, NOW)
                with following.view() as view:
                    assert sorted(view.rounds) == list(range(1, view.done + 1))
            writer.kill()
            done = check(reduce(read_journal(path)), done)
        wait_until(lambda: following._training.done == done)
        with following.view() as view:
            check(view)
            assert view.resumes == 5


def test_a_half_written_last_line_is_no_data(path):
    journal = Journal(path)
    journal.append(event("training_started", round=0, rounds=3, strategy="FedAvg", parameters={}, app="a/b"))
    journal.append(event("round_completed", round=1, rounds=3, valid=1, seconds=1.0))
    whole = path.read_bytes()
    journal.append(event("training_failed", round=1, error="x", reason="a line that is cut"))
    line = path.read_bytes()[len(whole) :]
    for length in range(len(line) - 1):
        path.write_bytes(whole + line[:length])
        assert check(reduce(read_journal(path))) == 1


def test_one_that_is_cut_replaced_or_shorter_is_read_anew_and_nothing_counts_twice(path):
    journal = Journal(path)
    facts_ = {"rounds": 9, "strategy": "FedAvg", "parameters": {}, "app": "a/b"}
    journal.append(event("training_started", round=0, **facts_))
    for number in range(1, 5):
        journal.append(event("round_failed", round=number, attempt=1, valid=0, needed=1, reason="x"))
        journal.append(event("round_completed", round=number, rounds=9, valid=1, seconds=1.0))
    content = path.read_bytes()
    with Following(path) as following:
        wait_until(lambda: following._training.done == 4)
        path.write_bytes(content[: len(content) // 2])
        left = reduce(read_journal(path)).done
        assert 0 < left < 4
        wait_until(lambda: following._training.done == left)
        with following.view() as view:
            assert view.failed_rounds == reduce(read_journal(path)).failed_rounds
        other = path.with_name("copy")
        other.write_bytes(content)
        other.replace(path)
        wait_until(lambda: following._training.done == 4)
        with following.view() as view:
            assert view.failed_rounds == 4
        # Cut, and grown again between two looks to more than it was.
        following._follower._place.offset = len(content)
        path.write_bytes(content[:40] + b"\n" + content)
        wait_until(lambda: following.state[0] >= 4)
        wait_until(lambda: following._training.done == 4)
        with following.view() as view:
            assert view.failed_rounds == 4


def test_a_journal_that_is_begun_while_it_is_asked_for_is_waited_for(path, monkeypatch):
    with Following(path) as following:
        assert following.is_read()
        following.stop.set()
        following._thread.join()
        whole, asked = following._whole, []

        def begun_between():
            asked.append(1)
            if len(asked) == 1:
                following._is_read.clear()
                threading.Timer(0.1, following._is_read.set).start()
            return whole()

        monkeypatch.setattr(following, "_whole", begun_between)
        with following.view() as view:
            assert not view.trouble
        assert len(asked) == 2


def test_one_that_cannot_be_read_is_said_and_nothing_else_is_claimed(path, nowhere):
    journal = Journal(path)
    journal.append(event("training_started", round=0, rounds=9, strategy="FedAvg", parameters={}, app="a/b"))
    journal.append(event("round_completed", round=1, rounds=9, valid=1, seconds=1.0))
    nowhere()
    with pytest.raises(StateError, match=r"cannot be read: it is a folder; expected a file\. Check the file"):
        list(read_journal(path))
    with Following(path) as following:
        assert not following.is_read(timeout_s=0.5)
        with following.lock:
            unknown = following.known()
            assert "it is a folder" in unknown.trouble
            assert "The journal cannot be read" in str(render_live(unknown))
        nowhere()
        with following.view() as view:
            check(view)
            assert not view.trouble
        nowhere()
        wait_until(lambda: following._follower.trouble)
        with following.view() as view:
            assert check(view) == 1
            assert "it is a folder" in view.trouble
            assert short_document(view, NOW)["journal"]["trouble"] == view.trouble
        nowhere()
        journal.append(event("round_completed", round=2, rounds=9, valid=1, seconds=1.0))
        wait_until(lambda: following._training.done == 2)
        wait_until(lambda: not following._follower.trouble)


def render_live(view):
    from oneflower.monitor.html.page import render
    from oneflower.monitor.state.safety import Safety

    sections = render(view, Safety(), NOW, "1").sections
    assert "No training yet" not in sections["headline"]
    assert "No event has been written" not in sections["doing"]
    return sections


def test_rounds_that_were_rotated_away_are_said_to_be_missing(path):
    journal = Journal(path, max_bytes=3000, old_files=2)
    journal.append(event("training_started", round=0, rounds=99, strategy="FedAvg", parameters={}, app="a/b"))
    for number in range(1, 80):
        journal.append(event("round_completed", round=number, rounds=99, valid=1, seconds=1.0))
    view = reduce(read_journal(path))
    assert view.begins_late
    assert short_document(view, NOW)["journal"]["begins_with_round"] == view.first_told > 1
    assert f"The journal begins with round {view.first_told}." in render_live(view)["attention"]
    assert "A training whose beginning is not in the journal" in render_report(view)


class Page:
    """The live page in this process, whose threads must outlive everything."""

    def __init__(self, path, folder):
        pytest.importorskip("uvicorn")
        from oneflower.monitor.web import server

        self._beside = server.beside(path, folder, 0)

    def __enter__(self):
        self.port = int(self._beside.__enter__().rstrip("/").rpartition(":")[2])
        return self

    def __exit__(self, *error):
        self._beside.__exit__(*error)

    def ask(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def threads():
    return {thread.name for thread in threading.enumerate()}


def test_the_page_beside_a_writer_and_a_vandal(path, tmp_path, writer, nowhere, monkeypatch):
    died = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    rng, done = random.Random(7), 0
    with Page(path, tmp_path) as page:
        for turn in range(24):
            act = ("kill", "hide", "tear", "nothing")[rng.randrange(4)]
            if act == "kill":
                writer.kill()
                writer.start()
            elif act == "tear":
                writer.kill()
                with path.open("ab") as file:
                    file.write(b'{"v": 1, "event": "training_fai')
                writer.start()
            elif act == "hide":
                nowhere()
            status, body = page.ask(("/report.json", "/metrics", "/report", "/")[turn % 4])
            assert status in (200, 503), body
            if status == 200 and turn % 4 == 0:
                told = json.loads(body)["training"]
                assert [each["round"] for each in json.loads(body)["rounds"]] == list(
                    range(1, told["round"] + 1)
                )
                assert told["round"] >= done
                assert told["phase"] not in ("failed", "finished")
                done = told["round"]
            if act == "hide":
                nowhere()
            assert {"fold", "inspect"} <= threads()
        wait_until(lambda: page.ask("/metrics")[0] == 200)
        wait_until(lambda: not json.loads(page.ask("/report.json")[1])["journal"]["trouble"])
    assert not died


# Another user may not read this machine's Python either, so everything is imported before.
ANOTHER_USER = """
import os, sys
from pathlib import Path
from oneflower.cli.sources import read_training, source_of
from oneflower.errors import StateError
os.setuid(65534)
try:
    read_training(source_of(Path(sys.argv[1]), None, None))
except StateError as error:
    sys.stderr.write(str(error))
    sys.exit(error.exit_code)
"""


def oneflower(*arguments, **options):
    command = [sys.executable, "-m", "oneflower.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


COMMANDS = [("status",), ("status", "--json"), ("logs",), ("report", "--format", "json"), ("metrics",)]


@pytest.mark.parametrize("command", [*COMMANDS, ("compare",)], ids=" ".join)
def test_a_command_waits_for_a_journal_that_is_away_for_a_second(path, nowhere, command):
    journal = Journal(path)
    journal.append(event("training_started", round=0, rounds=9, strategy="FedAvg", parameters={}, app="a/b"))
    nowhere()
    timer = threading.Timer(3.0, nowhere)
    timer.start()
    place = (path.parent,) if command[0] == "compare" else ("--state", path.parent)
    done = oneflower(*command, *place)
    timer.join()
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_a_command_says_that_a_journal_stays_unreadable(path, nowhere):
    Journal(path).append(
        event("training_started", round=0, rounds=9, strategy="FedAvg", parameters={}, app="a/b")
    )
    nowhere()
    done = oneflower("status", "--state", path.parent)
    assert done.returncode == 7
    assert "cannot be read: it is a folder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.root
@pytest.mark.parametrize("what", ["file", "folder"])
def test_another_user_who_may_not_read_it_is_told_so(path, tmp_path, what):
    if os.geteuid() != 0:
        pytest.skip("needs root to become another user")
    Journal(path).append(
        event("training_started", round=0, rounds=9, strategy="FedAvg", parameters={}, app="a/b")
    )
    for folder in (path.parent, tmp_path, *tmp_path.parents):
        if folder.name.startswith(("pytest", "test_", "state")):
            folder.chmod(folder.stat().st_mode | 0o055)
    (path if what == "file" else path.parent).chmod(0o600)
    command = [sys.executable, "-c", ANOTHER_USER, str(path.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 7, done.stderr
    assert "Permission denied" in done.stderr
    assert "Traceback" not in done.stderr
