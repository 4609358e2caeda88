"""Nothing that others put in the place of a journal's file stops a training, or leads to another file."""

import fcntl
import os
import stat

import pytest

from oneflower.journal import Journal, close_journal, read_journal, writer
from oneflower.journal.heartbeat import Heartbeat, heartbeat_file, last_beat
from oneflower.journal.writer import old_file

from ..making import event


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


@pytest.fixture
def victim(tmp_path):
    file = tmp_path / "victim"
    file.write_text("precious")
    os.utime(file, (1, 1))
    return file


def joined(client):
    return event("client_joined", client=str(client))


def clients(path):
    return [getattr(each.event, "client", None) for each in read_journal(path)]


def test_a_lock_that_another_process_holds_is_waited_for_once_and_told(path, monkeypatch, caplog):
    """It would hold up the round loop at every event."""
    waits = []
    lock_within = writer.lock_within
    monkeypatch.setattr(writer, "LOCK_S", 0.05)
    monkeypatch.setattr(
        writer, "lock_within", lambda file, wait_s: waits.append(wait_s) or lock_within(file, wait_s)
    )
    journal = Journal(path)
    journal.append(joined(1))
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for number in (2, 3, 4):
            journal.append(joined(number))
        assert clients(path) == ["1"]
        assert waits == [0.05, 0.05, 0.0, 0.0]
        assert "another process holds the lock" in caplog.text
    journal.append(joined(5))
    assert clients(path) == ["1", "2", "3", "4", "5"]
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        journal.append(joined(6))
    assert waits[-1] == 0.05, "a lock that was free again is waited for"


@pytest.mark.parametrize("age", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["pipe", "folder", "link", "dangling"])
def test_what_is_no_file_in_the_place_of_an_old_one_stops_no_rotation(path, victim, age, kind):
    foreign = old_file(path, age)
    if kind == "pipe":
        os.mkfifo(foreign)
    elif kind == "folder":
        (foreign / "inner").mkdir(parents=True)
    else:
        foreign.symlink_to(victim if kind == "link" else "nowhere")
    journal = Journal(path, max_bytes=1000, old_files=3)
    for number in range(60):
        journal.append(joined(number))
    assert clients(path)[-1] == "59"
    assert [path.stat().st_size <= 1000, *(old_file(path, each).is_file() for each in (1, 2, 3))] == [
        True
    ] * 4
    assert victim.read_text() == "precious"
    assert len(list(path.parent.glob("journal.jsonl.*.foreign-*"))) == 1


def test_an_old_file_that_is_larger_than_ours_is_not_read(path, caplog):
    Journal(path).append(event("round_started", round=1))
    old_file(path, 3).write_bytes(b'{"event":"round_started"}\n' * 1000)
    journal = Journal(path, max_bytes=1000, old_files=3)
    for number in range(20):
        journal.append(joined(number))
    assert "history of the rounds not kept" in caplog.text
    assert not old_file(path, 4).exists()
    assert clients(path)[-1] == "19"


@pytest.mark.parametrize("target", ["victim", "new"])
def test_a_journal_that_is_a_link_is_told_and_not_followed(path, victim, target, caplog):
    path.symlink_to(path.with_name(target))
    Journal(path).append(joined(1))
    assert "journal not written" in caplog.text
    assert victim.read_text() == "precious"
    assert not path.with_name("new").exists()


def test_a_heartbeat_touches_no_other_file(path, victim):
    heartbeat_file(path, 7).symlink_to(victim)
    heartbeat = Heartbeat(heartbeat_file(path, 7))
    try:
        assert victim.stat().st_mtime == 1
        before = last_beat(path, 7, ())
        heartbeat.beat()
        assert last_beat(path, 7, ()) != before
    finally:
        heartbeat.end()
    assert victim.exists()


def test_new_files_are_their_users_alone_and_those_of_before_are_closed(path):
    before = os.umask(0)
    try:
        heartbeat = Heartbeat(heartbeat_file(path, 7))
        journal = Journal(path, max_bytes=200, old_files=1)
        for number in range(20):
            journal.append(event("round_started", round=number))
        files = [path, old_file(path, 1), old_file(path, 2), heartbeat_file(path, 7)]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        heartbeat.end()
        for file in files[:3]:
            file.chmod(0o644)
        close_journal(path)
        assert {stat.S_IMODE(file.stat().st_mode) for file in files[:3]} == {0o600}
        path.parent.chmod(0o2770)
        path.chmod(0o664)
        close_journal(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    finally:
        os.umask(before)
