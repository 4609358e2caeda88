"""`oneflower up` through what a machine does at night: stopped processes, no forks, no output."""

import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from oneflower.flower.programs import WARM_EXECUTOR, program_of
from oneflower.local_cluster.processes import MARKER
from oneflower.procfs import command_line, status_of, with_environment
from oneflower.stalls import STOPPED

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

PIDS = Path("/sys/fs/cgroup/pids")


def sha256(output):
    return re.search(r"^SHA-256 +([0-9a-f]{64})$", output, re.MULTILINE)[1]


def running(token):
    return list(with_environment(MARKER, token))


def wait(process, seconds=240):
    output, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, output
    return output


def is_program(pid, name):
    command = command_line(pid)
    return program_of(command) == (WARM_EXECUTOR if name == "warm" else name)


def test_processes_that_are_stopped_for_ever_go_on_and_the_model_is_the_same(up, simulated):
    """One of each kind after another, in one training."""
    process = up.start(NUM_ROUNDS="15", environ={"TEST_PAUSE_S": "1"})
    for program in ("supernode", "warm", "superlink", "superexec", "serverapp"):
        begun = up.wait_for("round_started").round
        up.wait_for("round_completed", round=begun)
        victim = next(each for each in running(up.token()) if is_program(each.pid, program))
        os.kill(victim.pid, signal.SIGSTOP)
        if program == "superexec":  # it is missed only when there is something to start
            app = next(each for each in running(up.token()) if is_program(each.pid, "serverapp"))
            os.kill(app.pid, signal.SIGKILL)
        up.wait_until(lambda pid=victim.pid: not is_stopped(pid), f"{program} stays stopped")
    # On a busy machine another process than `oneflower up` may have been the first to continue it.
    assert {event.done for event in up.events("process_stalled")} == {"continued"}
    assert sha256(wait(process)) == simulated(2, NUM_ROUNDS="15")


def is_stopped(pid):
    status = status_of(pid)
    return status is not None and status.state == STOPPED


@pytest.fixture
def pids():
    """A group of processes that may be forbidden to fork."""
    group = PIDS / f"oneflower-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("no pids control group can be made here")
    yield group
    with suppress(OSError):
        group.rmdir()


def test_a_time_without_forks_ends_nothing(up, pids):
    process = up.start(NUM_ROUNDS="6", MIN_FIT_CLIENTS="2", environ={"TEST_PAUSE_S": "1"})
    up.wait_for("round_completed", round=1)
    (pids / "cgroup.procs").write_text(str(process.pid))
    (pids / "pids.max").write_text("1")
    os.kill(up.pid("supernode-1"), signal.SIGKILL)
    try:
        up.wait_for("process_died", role="supernode-1")
        deadline = time.monotonic() + 60
        while len(up.events("process_died")) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        (pids / "pids.max").write_text("max")
    wait(process)
    assert "cannot be started" in up.events("process_died")[1].reason
    assert up.events("process_started")
    assert not up.events("run_lost")


class TestTerminals:
    """The training goes on without its output; an ignored SIGHUP stays ignored."""

    def start(self, up, *before, **streams):
        context = up.write_context(NUM_ROUNDS="2")
        options = ["--context", context, "--app", up.app, "--state", up.state, "--no-dashboard"]
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "oneflower.cli.main", "up", *map(str, options)],
            env={**os.environ, "TEST_PAUSE_S": "1"},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            **streams,
        )
        up.processes.append(process)
        return process

    def test_nohup_and_a_hangup(self, up, tmp_path):
        with (tmp_path / "out").open("wb") as out:
            process = self.start(up, "nohup", stdout=out, stderr=out)
        up.wait_for("round_started", round=1)
        os.kill(process.pid, signal.SIGHUP)
        assert process.wait(timeout=240) == 0

    def test_a_closed_pipe(self, up):
        process = self.start(up, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        up.wait_for("round_started", round=1)
        process.stdout.close()
        process.stdout = None  # nobody reads it at the end, either
        assert process.wait(timeout=240) == 0
        assert up.events("training_finished")

    def test_a_vanished_terminal(self, up):
        ours, theirs = pty.openpty()
        process = self.start(up, stdout=theirs, stderr=theirs)
        os.close(theirs)
        reader = threading.Thread(target=drain, args=(ours, up), daemon=True)
        reader.start()
        up.wait_for("round_started", round=1)
        reader.join(timeout=60)
        assert process.wait(timeout=240) == 0
        assert up.events("training_finished")


def drain(descriptor, up):
    """Read a terminal until the first round has begun, then take it away."""
    with suppress(OSError):
        while not up.events("round_started"):
            os.read(descriptor, 65536)
    os.close(descriptor)
