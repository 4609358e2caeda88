"""A ServerApp's heart beats where no byte can be written, and only while it works."""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from oneflower.flower.failures import open_journal
from oneflower.journal import Journal, read_journal
from oneflower.journal.heartbeat import Heartbeat, forget_heartbeats, heartbeat_file, last_beat
from oneflower.procfs import thread_names

from ..making import event

RUN = 7
HERE = (os.getpid(),)
# More than what fits into the page that the journal has already.
EVENTS = 50


@contextmanager
def beating(path):
    heartbeat = Heartbeat(heartbeat_file(path, RUN))
    try:
        yield Journal(path, heartbeat=heartbeat)
    finally:
        heartbeat.end()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "journal.jsonl"


def beats(path, journal, pids):
    """Return whether an event is a beat for whoever sees these processes, and nothing else is one."""
    before = last_beat(path, RUN, pids)
    assert before is not None
    assert last_beat(path, RUN, pids) == before
    journal.append(event("waiting_for_clients"))
    return last_beat(path, RUN, pids) != before


@pytest.mark.parametrize("pids", [HERE, ()], ids=["seen", "in another PID namespace"])
def test_an_event_is_a_beat(path, pids):
    with beating(path) as journal:
        assert beats(path, journal, pids)
    assert not heartbeat_file(path, RUN).exists()


@pytest.mark.parametrize("pids", [HERE, ()], ids=["seen", "in another PID namespace"])
def test_an_event_that_cannot_be_written_is_a_beat(path, pids):
    """A folder stands where the journal was."""
    with beating(path) as journal:
        path.mkdir()
        assert beats(path, journal, pids)


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="a small disk is mounted")
@pytest.mark.parametrize("pids", [HERE, ()], ids=["seen", "in another PID namespace"])
def test_a_full_disk_does_not_stop_the_heart(tmp_path, pids):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
    try:
        path = disk / "journal.jsonl"
        with beating(path) as journal:
            journal.append(event("training_started"))
            fill(disk / "filling")
            for _ in range(EVENTS):
                assert beats(path, journal, pids)
            assert len(list(read_journal(path))) < EVENTS
            assert not journal.flush()
            begun_late = Heartbeat(heartbeat_file(path, 8))
            assert last_beat(path, 8, ()) is not None
            begun_late.end()
            (disk / "filling").unlink()
            assert journal.flush()
            assert len(list(read_journal(path))) == EVENTS + 1
    finally:
        subprocess.run(["umount", disk], check=True)


def fill(file):
    with file.open("wb", buffering=0) as out:
        try:
            while out.write(bytes(4096)):
                pass
        except OSError:
            return


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="a small disk is mounted")
def test_a_read_only_disk_is_no_silence(tmp_path):
    """From another PID namespace nothing can be told of a ServerApp there."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,ro", "tmpfs", disk], check=True)
    try:
        path = disk / "journal.jsonl"
        assert last_beat(path, RUN, ()) != last_beat(path, RUN, ())
        with beating(path) as journal:
            assert beats(path, journal, HERE)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_folder_that_is_gone_is_a_silence_that_somebody_must_end(path):
    assert last_beat(path, RUN, ()) is None


def test_runs_of_one_journal_do_not_beat_for_each_other(path):
    with beating(path) as journal:
        other = Heartbeat(heartbeat_file(path, 8))
        before = last_beat(path, 8, ())
        assert beats(path, journal, ())
        assert last_beat(path, 8, ()) == before
        forget_heartbeats(path, [8, 9])
        assert last_beat(path, 8, ()) is None
        other.end()


def test_a_file_that_was_removed_comes_back(path):
    with beating(path) as journal:
        forget_heartbeats(path, [RUN])
        journal.append(event("waiting_for_clients"))
        assert last_beat(path, RUN, ()) is not None


def test_a_heart_never_raises(path, monkeypatch):
    def refuse(*_words, **_options):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    path.parent.write_text("a file where the folder should be")
    Heartbeat(heartbeat_file(path, RUN)).beat()


def test_the_journal_of_a_server_app_beats_and_leaves_nothing_behind(tmp_path):
    """In a process of its own, which ends in order."""
    path = tmp_path / "journal.jsonl"
    program = f"""
import os
from pathlib import Path
from types import SimpleNamespace
from {open_journal.__module__} import open_journal
from oneflower.journal.events import RoundStarted
from oneflower.procfs import thread_names
journal = open_journal(SimpleNamespace(checkpoint_enabled=False), {RUN})
journal.append(RoundStarted(round=1, clients=2))
assert any(name.startswith("beat-") for name in thread_names(os.getpid())), thread_names(os.getpid())
assert Path({str(heartbeat_file(path, RUN))!r}).exists()
"""
    environment = {**os.environ, "ONEFLOWER_JOURNAL": str(path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=120)
    assert [each.run for each in read_journal(path)] == [RUN]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["journal.jsonl"]


def test_threads_have_names_that_others_can_read():
    assert thread_names(os.getpid())
    assert thread_names(2**22 + 1) == []
