"""Helper processes that come back, and that go with their parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oneflower.flower.watch import keep_running, look_after_parent
from oneflower.procfs import status_of
from oneflower.stalls import STOPPED

PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())])
print(child.pid, flush=True)
time.sleep(600)
"""
CHILD = """
import sys, time
from oneflower.flower.watch import die_with_parent
die_with_parent(int(sys.argv[1]))
print("tied", flush=True)
time.sleep(600)
"""


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def is_running(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


@pytest.fixture
def parent():
    process = subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_process_goes_with_its_parent_even_by_kill_9(parent):
    child = int(parent.stdout.readline())
    assert parent.stdout.readline() == "tied\n"
    os.kill(parent.pid, signal.SIGKILL)
    assert until(lambda: not is_running(child))


def test_a_process_whose_parent_is_gone_already_ends_at_once():
    result = subprocess.run(
        [sys.executable, "-c", CHILD, "1"], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 1
    assert "parent process 1 is gone" in result.stderr


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_command_that_ends_is_started_again_after_growing_pauses(tmp_path):
    starts, ends, pauses = tmp_path / "starts", [], []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            sys.exit()  # ends the thread that watches, for this test's sake

    command = ["sh", "-c", f"echo x >> {starts}"]
    keep_running(command, name="helper", on_end=lambda: ends.append(1), sleep=pause).join(60)
    assert starts.read_text(encoding="ascii").count("x") == 3
    assert len(ends) == 3
    assert pauses == sorted(pauses)


def test_a_helper_continues_its_parent_that_is_stopped_at_two_looks(monkeypatch):
    """Its guard would have done it after 10 s: it has died, and a stopped program starts no other."""
    program = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(program) as parent:
        looked = []

        def pause(seconds):
            looked.append(status_of(parent.pid).state)
            if len(looked) == 1:
                parent.send_signal(signal.SIGSTOP)
                until(lambda: status_of(parent.pid).state == STOPPED)
            elif len(looked) == 4:
                parent.kill()
                parent.wait()

        look_after_parent(parent.pid, sleep=pause).join(60)
    assert looked[1] == STOPPED
    assert STOPPED not in looked[2:]
