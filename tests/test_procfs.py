"""Processes are identified by pid and start time, and a signal reaches only the intended one."""

import os
import signal
import subprocess
import time

import pytest

from oneflower import procfs
from oneflower.procfs import (
    Identity,
    boot_id,
    command_line,
    identify,
    is_alive,
    parent_of,
    send,
    session_of,
    with_environment,
)

WAIT_S = 10.0


@pytest.fixture
def sleeper():
    process = subprocess.Popen(
        ["sleep", "60"], env={**os.environ, "ONEFLOWER_TEST_MARK": "a1"}, start_new_session=True
    )
    yield process
    process.kill()
    process.wait()


def wait_for(condition):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_running_process_has_one_identity(sleeper):
    identity = identify(sleeper.pid)
    assert identity == identify(sleeper.pid)
    assert is_alive(identity)


def test_a_zombie_counts_as_dead(sleeper):
    identity = identify(sleeper.pid)
    sleeper.kill()
    wait_for(lambda: not is_alive(identity))
    assert identify(sleeper.pid) is None


def test_a_missing_process_has_no_identity():
    assert identify(2**22) is None
    assert parent_of(2**22) is None
    assert command_line(2**22) == []


def test_parent_session_and_command_line_are_read(sleeper):
    assert parent_of(sleeper.pid) == os.getpid()
    assert session_of(sleeper.pid) == sleeper.pid
    wait_for(lambda: command_line(sleeper.pid) == ["sleep", "60"])


def test_a_process_name_with_brackets_and_spaces_is_parsed(tmp_path):
    """The second field of /proc/PID/stat is the program's name and may hold anything."""
    program = tmp_path / "a) S 1 (b"
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(program), "60"])
    try:
        wait_for(lambda: command_line(process.pid)[:1] == [str(program)])
        assert parent_of(process.pid) == os.getpid()
    finally:
        process.kill()
        process.wait()


def test_a_signal_reaches_the_process(sleeper):
    assert send(identify(sleeper.pid), signal.SIGKILL)
    assert sleeper.wait(timeout=WAIT_S) == -signal.SIGKILL


def test_a_process_with_a_reused_pid_is_not_signalled(sleeper):
    """The same pid with another start time is another process."""
    identity = identify(sleeper.pid)
    other = Identity(pid=identity.pid, start_ticks=identity.start_ticks - 1)
    assert not send(other, signal.SIGKILL)
    assert is_alive(identity)


def test_a_signal_to_a_dead_process_is_not_an_error():
    assert not send(Identity(pid=2**22, start_ticks=1), signal.SIGTERM)


def test_processes_are_found_by_the_exact_environment(sleeper):
    wait_for(lambda: command_line(sleeper.pid) == ["sleep", "60"])
    found = [identity.pid for identity in with_environment("ONEFLOWER_TEST_MARK", "a1")]
    assert found == [sleeper.pid]
    assert not list(with_environment("ONEFLOWER_TEST_MARK", "a"))
    assert not list(with_environment("TEST_MARK", "a1"))


def test_a_process_whose_exec_is_under_way_is_looked_at_again(sleeper, monkeypatch):
    """The kernel shows an empty environment between the old program and the new one."""
    wait_for(lambda: command_line(sleeper.pid) == ["sleep", "60"])
    looks = []

    def read(pid, read=procfs._environment):
        looks.extend([pid] if pid == sleeper.pid else [])
        return b"" if pid == sleeper.pid and len(looks) < 3 else read(pid)

    monkeypatch.setattr(procfs, "_environment", read)
    assert [found.pid for found in with_environment("ONEFLOWER_TEST_MARK", "a1")] == [sleeper.pid]
    assert len(looks) == 3


def test_a_process_without_an_environment_is_looked_at_a_bounded_number_of_times(monkeypatch):
    bare = subprocess.Popen(["sleep", "60"], env={})
    try:
        looks = []
        monkeypatch.setattr(
            procfs, "_environment", lambda pid: looks.append(pid) or b"" if pid == bare.pid else b"x"
        )
        assert not list(with_environment("ONEFLOWER_TEST_MARK", "a1"))
        assert len(looks) == procfs.EXEC_LOOKS
    finally:
        bare.kill()
        bare.wait()


def test_this_process_and_its_parents_are_never_found():
    name, value = next((name, value) for name, value in os.environ.items() if value and "\n" not in value)
    spared = {os.getpid(), os.getppid()}
    assert not spared & {identity.pid for identity in with_environment(name, value)}


def test_the_boot_has_an_id():
    assert len(boot_id()) == 36
