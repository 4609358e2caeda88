"""The journal: whole lines in, whole events out, whatever a crash or a full disk leaves behind."""

import json
import logging
import math
import os
import re
import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from oneflower.errors import StateError
from oneflower.journal import EVENTS, JOURNAL_SCHEMA, Journal, follow, follow_blocks, read_journal

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "journal.jsonl"


def test_an_event_is_one_json_line_with_schema_time_and_fields(path):
    journal = Journal(path, now=lambda: datetime(2026, 1, 2, tzinfo=UTC))
    journal.append("round_started", round=3, rounds=5, clients=4)
    assert path.read_text().count("\n") == 1
    assert json.loads(path.read_text()) == {
        "v": JOURNAL_SCHEMA,
        "time": "2026-01-02T00:00:00+00:00",
        "event": "round_started",
        "round": 3,
        "rounds": 5,
        "clients": 4,
    }


def test_numpy_numbers_are_numbers_and_what_is_not_finite_is_null(path):
    Journal(path).append(
        "x", loss=np.float32(0.5), n=np.int64(3), bad={"nan": math.nan, "inf": -math.inf}, shape=(1, 2)
    )
    (event,) = read_journal(path)
    assert (event["loss"], event["n"], event["bad"], event["shape"]) == (
        0.5,
        3,
        {"nan": None, "inf": None},
        [1, 2],
    )


def test_what_is_not_json_is_written_as_text(path):
    Journal(path).append("x", path=Path("/a"), broken="\udcff")
    assert next(read_journal(path))["path"] == "/a"


def test_a_torn_last_line_is_left_out_and_does_not_spoil_the_next_event(path):
    journal = Journal(path)
    journal.append("a")
    with path.open("ab") as file:
        file.write(b'{"v": 1, "event": "to')
    assert [event["event"] for event in read_journal(path)] == ["a"]
    journal.append("b")
    assert [event["event"] for event in read_journal(path)] == ["a", "b"]


def test_foreign_lines_are_left_out(path):
    path.parent.mkdir()
    path.write_bytes(b'[]\n3\n\xff\xfe\n{"no": "event"}\n{"event": "a"}\n')
    assert [event["event"] for event in read_journal(path)] == ["a"]


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        (b'{"event": "x"} {"event": "x"}', 0),
        (b'{"event": "x"},{"event": "x"}', 0),
        (b' \t{"event": "x"} \r', 1),
        (b'{"event": "x", "a": {"b": 1}', 0),
        (b'"b": 2}', 0),
        (b'{"event": "x", "text": "\xff"}', 0),
        (b'{"event": "x", "text": "\xe2\x80\xa8 \xc2\x85"}', 1),
        (b'{"event": 7}', 0),
        (b"", 0),
        (b"[" * 100_000, 0),
        (b'{"a":' * 100_000, 0),
    ],
)
def test_a_line_is_an_event_by_itself_or_is_left_out(path, line, seen):
    """Lines are read in blocks; none is joined to its neighbour, and none spoils the others of its block."""
    path.parent.mkdir()
    path.write_bytes(b'{"event": "a"}\n' + line + b'\n{"event": "b"}\n')
    assert [event["event"] for event in read_journal(path)] == ["a", *["x"] * seen, "b"]


def test_lines_that_lie_across_blocks_are_whole(path, monkeypatch):
    monkeypatch.setattr("oneflower.journal.reader._BLOCK_BYTES", 7)
    path.parent.mkdir()
    path.write_text("".join(json.dumps({"event": "x", "text": "é" * n}) + "\n" for n in range(20)))
    assert [len(event["text"]) for event in read_journal(path)] == list(range(20))
    stop = threading.Event()
    stop.set()
    assert [len(event["text"]) for event in follow(path, stop)] == list(range(20))


def test_a_missing_journal_has_no_events(path):
    assert list(read_journal(path)) == []


def test_the_journal_is_bounded_and_read_across_its_rotated_files(path):
    journal = Journal(path, max_bytes=1000, old_files=2)
    for number in range(100):
        journal.append("x", number=number)
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["journal.jsonl", "journal.jsonl.1", "journal.jsonl.2"]
    assert all(file.stat().st_size <= 1000 for file in files)
    numbers = [event["number"] for event in read_journal(path)]
    assert numbers == list(range(numbers[0], 100))


def test_a_journal_that_cannot_be_written_warns_and_does_not_raise(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        Journal(tmp_path / "file" / "journal.jsonl").append("x")
    assert "journal not written event=x" in caplog.text


def test_a_full_disk_warns_and_the_cut_line_spoils_only_itself(path, caplog, monkeypatch):
    journal = Journal(path)
    journal.append("a")
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:5]))
    journal.append("b")
    monkeypatch.undo()
    assert "free space on the disk" in caplog.text
    journal.append("c")
    assert [event["event"] for event in read_journal(path)] == ["a", "b", "c"]


def test_threads_that_append_and_rotate_at_once_lose_no_event(path):
    def work(worker):
        journal = Journal(path, max_bytes=2000, old_files=99)
        for number in range(50):
            journal.append("x", id=f"{worker}-{number}")

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    seen = [event["id"] for event in read_journal(path)]
    assert len(seen) == len(set(seen)) == 200


def test_follow_yields_old_events_then_new_ones_across_a_rotation(path):
    journal = Journal(path, max_bytes=300, old_files=50)
    journal.append("x", number=0)
    stop, seen = threading.Event(), []

    def read():
        for event in follow(path, stop, poll_s=0.005):
            seen.append(event["number"])
            arrived.release()

    arrived = threading.Semaphore(0)
    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 20):
        assert arrived.acquire(timeout=10)
        journal.append("x", number=number)
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
        Journal(path).append("old", number=each)
    stop, at_end, seen = threading.Event(), threading.Event(), []
    follower = follow_blocks(path, stop, at_end, poll_s=0.005)
    while len(seen) < number:
        seen += next(follower)
        assert not at_end.is_set()
    assert [event["number"] for event in seen] == list(range(number))
    threading.Timer(0.05, stop.set).start()
    assert [event for block in follower for event in block] == []
    assert at_end.is_set()


def test_follow_yields_what_was_written_before_the_stop(path):
    Journal(path).append("last")
    stop = threading.Event()
    stop.set()
    assert [event["event"] for event in follow(path, stop)] == ["last"]


def test_every_documented_event_and_field_is_in_the_page():
    page = (REPOSITORY / "docs" / "journal.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", page, re.MULTILINE))
    documented = {name: tuple(re.findall(r"`(\w+)`", fields)) for name, fields in rows.items()}
    assert documented == dict(EVENTS)


def test_events_of_a_time_when_the_file_could_not_be_written_follow_in_their_order(path):
    journal = Journal(path)
    journal.append("a")
    path.rename(path.with_suffix(".away"))
    path.mkdir()
    journal.append("b")
    journal.append("c")
    assert not journal.flush()
    path.rmdir()
    path.with_suffix(".away").rename(path)
    assert journal.flush()
    journal.append("d")
    assert [event["event"] for event in read_journal(path)] == ["a", "b", "c", "d"]


def test_a_journal_that_cannot_be_read_is_no_empty_journal(path):
    path.mkdir(parents=True)
    with pytest.raises(StateError, match="cannot be read"):
        list(read_journal(path))


def test_a_journal_that_is_a_named_pipe_is_told_and_waited_for_by_nobody(path, caplog):
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    Journal(path).append("one")
    assert "named pipe" in caplog.text
    with pytest.raises(StateError, match="named pipe"):
        list(read_journal(path))
