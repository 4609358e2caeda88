"""The journal: whole lines in, whole events out, whatever a crash or a full disk leaves behind."""

import fcntl
import logging
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from oneflower.errors import StateError
from oneflower.journal import Entry, Journal, follow, follow_blocks, read_journal
from oneflower.journal.codec import line_of
from oneflower.journal.writer import old_file
from oneflower.quality import ORIGINS, Metric

from ..making import event

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "journal.jsonl"


def joined(client):
    return event("client_joined", client=str(client))


def clients(entries):
    """Return whom the entries name; a broken one is None."""
    return [getattr(each.event, "client", None) for each in entries]


def test_an_event_is_one_line(path):
    Journal(path, now=lambda: datetime(2026, 1, 2, tzinfo=UTC)).append(joined("a\nb"))
    assert path.read_text().count("\n") == 1
    (found,) = read_journal(path)
    assert found == Entry(datetime(2026, 1, 2, tzinfo=UTC), joined("a\nb"))


def test_an_event_with_a_wrong_field_is_refused_aloud_and_the_training_goes_on(path, caplog, refused):
    Journal(path).append(joined("a"))
    Journal(path).append(event("round_started", round=-1))
    assert "event refused event=round_started" in caplog.text
    refused.clear()
    assert "with round -1: expected a whole number" in caplog.text
    assert clients(read_journal(path)) == ["a"]


def test_text_that_is_no_unicode_is_written_readably(path):
    Journal(path).append(joined("a\udcff"))
    assert clients(read_journal(path)) == ["a?"]


def test_a_torn_last_line_is_broken_and_does_not_spoil_the_next_event(path):
    journal = Journal(path)
    journal.append(joined("a"))
    with path.open("ab") as file:
        file.write(b'{"v": 1, "event": "to')
    assert clients(read_journal(path)) == ["a", None]
    journal.append(joined("b"))
    assert clients(read_journal(path)) == ["a", None, "b"]


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        (b"%s %s", [None]),
        (b"%s,%s", [None]),
        (b" \t%s \r", ["x"]),
        (b"", []),
        (b"\xff\xfe", [None]),
        (b"[]", [None]),
    ],
)
def test_a_line_is_an_event_by_itself_or_is_broken(path, line, seen):
    """Lines are read in blocks; none is joined to its neighbour, and none spoils the others of its block."""
    a, x, b = (line_of(Entry(NOW, joined(name)))[:-1] for name in "axb")
    path.parent.mkdir()
    path.write_bytes(b"\n".join([a, line.replace(b"%s", x), b, b""]))
    assert clients(read_journal(path)) == ["a", *seen, "b"]


def test_lines_that_lie_across_blocks_are_whole(path, monkeypatch):
    monkeypatch.setattr("oneflower.journal.reader._BLOCK_BYTES", 7)
    path.parent.mkdir()
    path.write_bytes(b"".join(line_of(Entry(NOW, joined("é" * n))) for n in range(20)))
    assert list(map(len, clients(read_journal(path)))) == list(range(20))
    stop = threading.Event()
    stop.set()
    assert list(map(len, clients(follow(path, stop)))) == list(range(20))


def test_a_missing_journal_has_no_events(path):
    assert list(read_journal(path)) == []


def test_the_journal_is_bounded_and_read_across_its_rotated_files(path):
    journal = Journal(path, max_bytes=1000, old_files=2)
    for number in range(100):
        journal.append(joined(number))
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["journal.jsonl", "journal.jsonl.1", "journal.jsonl.2"]
    assert all(file.stat().st_size <= 1000 for file in files)
    numbers = [int(each) for each in clients(read_journal(path))]
    assert numbers == list(range(numbers[0], 100))


def test_a_journal_that_cannot_be_written_warns_and_does_not_raise(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        Journal(tmp_path / "file" / "journal.jsonl").append(joined("x"))
    assert "journal not written event=client_joined" in caplog.text


def test_a_full_disk_warns_and_what_was_cut_is_written_again(path, caplog, monkeypatch):
    journal = Journal(path)
    journal.append(joined("a"))
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:5]))
    journal.append(joined("b"))
    monkeypatch.undo()
    assert "free space on the disk" in caplog.text
    journal.append(joined("c"))
    assert clients(read_journal(path)) == ["a", "b", "c"]


@pytest.mark.parametrize(("module", "name"), [(fcntl, "flock"), (os, "write"), (os, "fstat"), (os, "close")])
@pytest.mark.parametrize("size", [0, 150])
def test_an_interruption_neither_loses_nor_repeats_an_event(path, monkeypatch, module, name, size):
    """Ctrl-C is raised after any call; the lock of a file that stays open would refuse the last events."""
    first, last = Journal(path, max_bytes=size or 10_000), Journal(path)
    first.append(joined(1))
    original = getattr(module, name)

    def interrupted(*args):
        monkeypatch.setattr(module, name, original)
        original(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        first.append(joined(2))
    assert first.flush()
    last.append(joined(3))
    assert [each.event.client for each in read_journal(path)] == ["1", "2", "3"]


def test_threads_that_append_and_rotate_at_once_lose_no_event(path):
    def work(worker):
        journal = Journal(path, max_bytes=2000, old_files=99)
        for number in range(50):
            journal.append(joined(f"{worker}-{number}"))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    seen = clients(read_journal(path))
    assert len(seen) == len(set(seen)) == 200


def test_follow_yields_old_events_then_new_ones_across_a_rotation(path):
    journal = Journal(path, max_bytes=300, old_files=50)
    journal.append(joined(0))
    stop, seen = threading.Event(), []

    def read():
        for each in follow(path, stop, poll_s=0.005):
            seen.append(int(each.event.client))
            arrived.release()

    arrived = threading.Semaphore(0)
    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 20):
        assert arrived.acquire(timeout=10)
        journal.append(joined(number))
    assert arrived.acquire(timeout=10)
    stop.set()
    reader.join(10)
    assert seen == list(range(20))


def test_follow_waits_for_a_journal_that_is_not_there_yet_and_stops_when_told(path):
    stop = threading.Event()
    timer = threading.Timer(0.05, stop.set)
    timer.start()
    assert list(follow(path, stop, poll_s=0.005)) == []


@pytest.mark.parametrize("number", [0, 5])
def test_it_is_told_when_what_was_there_has_been_read(path, number, monkeypatch):
    monkeypatch.setattr("oneflower.journal.reader._BLOCK_BYTES", 100)
    for each in range(number):
        Journal(path).append(joined(each))
    stop, at_end, seen = threading.Event(), threading.Event(), []
    follower = follow_blocks(path, stop, at_end, poll_s=0.005)
    while len(seen) < number:
        seen += next(follower)
        assert not at_end.is_set()
    assert clients(seen) == [str(each) for each in range(number)]
    threading.Timer(0.05, stop.set).start()
    assert [each for block in follower for each in block] == []
    assert at_end.is_set()


def test_follow_yields_what_was_written_before_the_stop(path):
    Journal(path).append(joined("last"))
    stop = threading.Event()
    stop.set()
    assert clients(follow(path, stop)) == ["last"]


def test_events_of_a_time_when_the_file_could_not_be_written_follow_in_their_order(path):
    journal = Journal(path)
    journal.append(joined("a"))
    path.rename(path.with_suffix(".away"))
    path.mkdir()
    journal.append(joined("b"))
    journal.append(joined("c"))
    assert not journal.flush()
    path.rmdir()
    path.with_suffix(".away").rename(path)
    assert journal.flush()
    journal.append(joined("d"))
    assert clients(read_journal(path)) == ["a", "b", "c", "d"]


def test_a_journal_that_cannot_be_read_is_no_empty_journal(path):
    path.mkdir(parents=True)
    with pytest.raises(StateError, match="cannot be read"):
        list(read_journal(path))


def test_a_journal_that_is_a_named_pipe_is_told_and_waited_for_by_nobody(path, caplog):
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    Journal(path).append(joined("one"))
    assert "named pipe" in caplog.text
    with pytest.raises(StateError, match="named pipe"):
        list(read_journal(path))


class TestFlood:
    """A client cannot flush the history of the rounds out of the journal."""

    def fill(self, path, *, of_clients, rounds=20):
        journal = Journal(path, max_bytes=20_000, old_files=3)
        journal.append(event("training_started", rounds=rounds))
        for number in range(1, rounds + 1):
            journal.append(event("round_completed", round=number))
            for client in range(of_clients):
                journal.append(event("client_failed", round=number, client=str(client), reason="A" * 1_000))
        return [each.event for each in read_journal(path)]

    @pytest.mark.parametrize("of_clients", [0, 5, 500])
    def test_every_round_stays_once_and_in_order(self, path, of_clients):
        events = self.fill(path, of_clients=of_clients)
        rounds = [each.round for each in events if each.tag == "round_completed"]
        assert rounds == list(range(1, 21))
        assert events[0].tag == "training_started"

    def test_the_files_stay_bounded(self, path):
        self.fill(path, of_clients=500)
        assert sum(file.stat().st_size for file in path.parent.iterdir()) < 5 * 20_000

    def test_the_newest_part_of_a_long_history_stays(self, path):
        journal = Journal(path, max_bytes=5_000, old_files=1)
        for number in range(1, 500):
            journal.append(event("round_completed", round=number))
        rounds = [each.event.round for each in read_journal(path)]
        assert rounds == list(range(rounds[0], 500))
        assert all(file.stat().st_size <= 5_000 for file in path.parent.iterdir())

    def test_a_crash_amid_a_rotation_adds_no_event_twice(self, path, monkeypatch):
        """The history is there, and the oldest file still too."""
        rename, crashed = Path.rename, []

        def crash_once(self, target):
            if old_file(path, 4).exists() and not crashed:
                crashed.append(self)
                raise OSError("crashed")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", crash_once)
        events = self.fill(path, of_clients=500)
        assert crashed
        assert [each.round for each in events if each.tag == "round_completed"] == list(range(1, 21))


class TestLongText:
    @pytest.mark.parametrize("tag", ["client_failed", "client_quarantined"])
    def test_a_clients_text_is_cut(self, path, tag):
        Journal(path).append(event(tag, reason="A" * 20_000_000, client="B" * 1_000_000))
        assert path.stat().st_size < 6_000
        (found,) = read_journal(path)
        assert found.event.reason.endswith("(19997952 more characters)")

    def test_any_text_is(self, path):
        Journal(path).append(event("training_failed", reason="A" * 20_000_000))
        assert path.stat().st_size < 20_000

    def test_the_metrics_of_a_client_are_bounded(self, path):
        measured = tuple(Metric(ORIGINS[0], f"{number}" + "x" * 10_000, 1.0) for number in range(100_000))
        Journal(path).append(event("round_completed", metrics=measured))
        assert path.stat().st_size < 200_000
