"""Every started process is recorded on disk before it can be orphaned, and only those are ended."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from oneflower.errors import ClusterError, StateError
from oneflower.local_cluster.processes import MARKER, ProcessTable, end, leftovers
from oneflower.procfs import identify


def never():
    return False


@pytest.fixture
def table(tmp_path):
    made = ProcessTable(path=tmp_path / "processes.json")
    made.open()
    return made


@pytest.fixture
def start():
    started = []

    def run(command=("sleep", "60"), **environment):
        process = subprocess.Popen(command, env={**os.environ, **environment}, start_new_session=True)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def pids(identities):
    return sorted(identity.pid for identity in identities)


def test_a_recorded_process_is_a_leftover_of_the_next_start(table, start):
    process = start()
    table.record("superlink", identify(process.pid))
    assert pids(leftovers(table.path)) == [process.pid]


def test_a_child_that_was_never_recorded_is_found_by_the_token(table, start):
    """A parent may be killed after it started a child and before it recorded its pid."""
    process = start(**{MARKER: table.token})
    assert pids(leftovers(table.path)) == [process.pid]


def test_grandchildren_are_found_by_the_token(table, start):
    script = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True); input()"
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, MARKER: table.token},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with parent:
        child = int(parent.stdout.readline())
        deadline = time.monotonic() + 10
        # The child was forked; its exec may still be under way on a busy machine.
        while pids(leftovers(table.path)) != sorted([parent.pid, child]):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert end(lambda: leftovers(table.path), grace_s=5, hurry=lambda: bool(parent.poll())) == 2
    assert identify(child) is None


def test_another_process_is_never_a_leftover(table, start):
    start()
    start(**{MARKER: "another token"})
    assert leftovers(table.path) == []


def test_a_process_with_a_reused_pid_is_not_a_leftover(table, start):
    process = start()
    table.record("superlink", identify(process.pid))
    written = json.loads(table.path.read_text())
    written["processes"]["superlink"]["start_ticks"] -= 1
    table.path.write_text(json.dumps(written))
    assert leftovers(table.path) == []


def test_a_table_of_another_boot_of_the_machine_is_ignored(table, start):
    process = start(**{MARKER: table.token})
    table.record("superlink", identify(process.pid))
    written = {**json.loads(table.path.read_text()), "boot_id": "of yesterday"}
    table.path.write_text(json.dumps(written))
    assert leftovers(table.path) == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"processes": 3}', '{"token": 5, "processes": {"a": {}}}']
)
def test_a_damaged_table_is_ignored(tmp_path, text):
    path = tmp_path / "processes.json"
    path.write_text(text)
    assert leftovers(path) == []


def test_damaged_records_are_skipped(table, start):
    process = start()
    table.record("superlink", identify(process.pid))
    written = json.loads(table.path.read_text())
    written["processes"] |= {"a": {}, "b": {"pid": "x", "start_ticks": 1}, "c": {"pid": None}}
    table.path.write_text(json.dumps(written))
    assert pids(leftovers(table.path)) == [process.pid]


def test_no_table_has_no_leftovers(tmp_path):
    assert leftovers(tmp_path / "processes.json") == []


def test_the_token_is_on_disk_before_any_process(table):
    written = json.loads(table.path.read_text())
    assert written["token"] == table.token
    assert written["processes"] == {}
    assert written["owner"]["pid"] == os.getpid()


def test_a_table_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="--state"):
        ProcessTable(path=tmp_path / "file" / "processes.json").open()


def test_processes_get_sigterm_first(table, start):
    process = start()
    table.record("superlink", identify(process.pid))
    assert end(lambda: [process.poll()] and table.alive(), grace_s=30, hurry=never) == 1
    assert process.wait() == -signal.SIGTERM


def test_a_process_that_ignores_sigterm_is_killed(table, start):
    process = start(
        [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"]
    )
    table.record("supernode-0", identify(process.pid))
    time.sleep(0.5)
    end(lambda: [process.poll()] and table.alive(), grace_s=0.2, hurry=never)
    assert process.wait() == -signal.SIGKILL


def test_a_second_signal_kills_at_once(table, start):
    process = start()
    table.record("supernode-0", identify(process.pid))
    end(lambda: [process.poll()] and table.alive(), grace_s=60, hurry=lambda: True)
    assert process.wait() == -signal.SIGKILL


def test_processes_that_cannot_be_ended_are_named_after_a_bounded_wait(monkeypatch, start):
    monkeypatch.setattr("oneflower.local_cluster.processes.GIVE_UP_S", 0.1)
    monkeypatch.setattr("oneflower.local_cluster.processes.send", lambda *_: False)
    process = start()
    with pytest.raises(ClusterError, match=str(process.pid)):
        end(lambda: [identify(process.pid)], grace_s=0, hurry=never)
