"""A journal that is read in a thread of its own."""

import errno
import os
import threading
import time

import pytest

from oneflower.journal import Journal, JournalTail

from ..making import event


def test_what_was_written_before_the_tail_is_finished_can_be_drained(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    with JournalTail(journal.path) as tail:
        for number in range(500):
            journal.append(event("round_started", round=number))
        tail.finish()
        assert [each.event.round for each in tail.drain()] == list(range(500))
        assert list(tail.drain()) == []


def test_all_that_is_written_by_now_can_be_drained_at_once(journal):
    with JournalTail(journal.path) as tail:
        for number in range(20):
            journal.append(event("round_started", round=number))
            assert [each.event.round for each in tail.drain(all_written=True)] == [number]


def test_nobody_waits_for_ever_for_a_journal_that_cannot_be_read(journal, tmp_path):
    journal.append(event("round_started", round=1))
    with JournalTail(journal.path, patience_s=0.1) as tail:
        assert len(list(tail.drain(all_written=True))) == 1
        unreadable(journal.path, tmp_path / "away")
        assert list(tail.drain(all_written=True)) == []
    assert list(tail.drain(all_written=True)) == []


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal.jsonl")


def unreadable(path, away):
    path.rename(away)
    path.mkdir()


def readable(path, away):
    path.rmdir()
    away.rename(path)


def drained(tail, number):
    found = []
    deadline = time.monotonic() + 60
    while len(found) < number and time.monotonic() < deadline:
        found += [each.event.client for each in tail.drain()]
        time.sleep(0.01)
    return found


def until(condition):
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_reading_goes_on_where_it_was_after_the_journal_was_unreadable(journal, tmp_path):
    journal.append(event("client_joined", client="a"))
    with JournalTail(journal.path) as tail:
        assert drained(tail, 1) == ["a"]
        unreadable(journal.path, tmp_path / "away")
        until(lambda: tail.trouble)
        readable(journal.path, tmp_path / "away")
        journal.append(event("client_joined", client="b"))
        assert drained(tail, 1) == ["b"]
        assert tail.trouble == ""


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.EACCES])
def test_an_error_of_the_disk_neither_ends_the_reading_nor_repeats_an_event(journal, monkeypatch, number):
    fails = threading.Event()
    fstat = os.fstat

    def refuse(descriptor):
        if fails.is_set() and threading.current_thread().name == "journal":
            raise OSError(number, os.strerror(number))
        return fstat(descriptor)

    monkeypatch.setattr(os, "fstat", refuse)
    journal.append(event("client_joined", client="a"))
    with JournalTail(journal.path) as tail:
        assert drained(tail, 1) == ["a"]
        fails.set()
        until(lambda: tail.trouble)
        journal.append(event("client_joined", client="b"))
        fails.clear()
        assert drained(tail, 1) == ["b"]


def test_rotations_while_it_was_unreadable_lose_nothing(tmp_path):
    path, away = tmp_path / "state" / "journal.jsonl", tmp_path / "away"
    journal = Journal(path, max_bytes=2000, old_files=20)
    journal.append(event("client_joined", client="start"))
    with JournalTail(path) as tail:
        assert drained(tail, 1) == ["start"]
        path.parent.rename(away)
        path.parent.write_text("no folder")
        until(lambda: tail.trouble)
        moved = Journal(away / "journal.jsonl", max_bytes=2000, old_files=20)
        for number in range(100):
            moved.append(event("client_joined", client=f"e{number}"))
        path.parent.unlink()
        away.rename(path.parent)
        assert drained(tail, 100) == [f"e{number}" for number in range(100)]


def test_an_end_that_cannot_be_read_is_told(journal, tmp_path):
    journal.append(event("client_joined", client="a"))
    with JournalTail(journal.path, patience_s=0.0) as tail:
        assert drained(tail, 1) == ["a"]
        unreadable(journal.path, tmp_path / "away")
        tail.finish()
        assert tail.trouble


def test_an_end_is_waited_for_a_moment(journal, tmp_path):
    journal.append(event("client_joined", client="a"))
    with JournalTail(journal.path) as tail:
        assert drained(tail, 1) == ["a"]
        unreadable(journal.path, tmp_path / "away")
        threading.Timer(0.5, readable, (journal.path, tmp_path / "away")).start()
        tail.finish()
        assert tail.trouble == ""
