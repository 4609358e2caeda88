"""`oneflower up` through what a machine does at night: stopped processes, no forks, no output, a proxy."""

import os
import pty
import re
import shutil
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
from oneflower.procfs import command_line, with_environment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

ROUNDS = "4"
PIDS = Path("/sys/fs/cgroup/pids")


def sha256(output):
    return re.search(r"^SHA-256 +([0-9a-f]{64})$", output, re.MULTILINE)[1]


def running(token):
    return list(with_environment(MARKER, token))


def wait(process, seconds=240):
    output, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, output
    return output


@pytest.fixture
def undisturbed(up):
    code, output = up.run(NUM_ROUNDS=ROUNDS)
    assert code == 0, output
    up.state.rename(up.state.with_name("undisturbed"))
    return sha256(output)


def is_program(pid, name):
    command = command_line(pid)
    return program_of(command) == (WARM_EXECUTOR if name == "warm" else name)


@pytest.mark.parametrize("program", ["supernode", "warm", "superlink", "superexec", "serverapp"])
def test_a_process_that_is_stopped_for_ever_goes_on_and_the_model_is_the_same(up, undisturbed, program):
    process = up.start(NUM_ROUNDS=ROUNDS, environ={"TEST_PAUSE_S": "1"})
    up.wait_for("round_started", round=2)
    victim = next(each for each in running(up.token()) if is_program(each.pid, program))
    os.kill(victim.pid, signal.SIGSTOP)
    if program == "superexec":  # it is missed only when there is something to start
        app = next(each for each in running(up.token()) if is_program(each.pid, "serverapp"))
        os.kill(app.pid, signal.SIGKILL)
    assert sha256(wait(process)) == undisturbed
    assert up.events("process_stalled")[0].done == "continued"


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


@pytest.mark.parametrize("name", ["http_proxy", "grpc_proxy", "HTTP_PROXY"])
def test_a_proxy_in_the_environment_is_not_in_the_way(up, name):
    code, output = up.run(NUM_ROUNDS="1", environ={name: "http://127.0.0.1:9"})
    assert code == 0, output


class TestTerminals:
    """The training goes on without its output; an ignored SIGHUP stays ignored."""

    def command(self, up, *before):
        context = up.state.parent / "context.sh"
        options = ["--app", str(up._app), "--state", str(up.state), "--no-dashboard"]
        return [
            *before,
            sys.executable,
            "-m",
            "oneflower.cli.main",
            "up",
            "--context",
            str(context),
            *options,
        ]

    def start(self, up, *before, **streams):
        up.start(NUM_ROUNDS=ROUNDS).kill()  # it writes the context
        up._processes[-1].wait()
        shutil.rmtree(up.state, ignore_errors=True)
        process = subprocess.Popen(
            self.command(up, *before),
            env={**os.environ, "TEST_PAUSE_S": "1"},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            **streams,
        )
        up._processes.append(process)
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

    @pytest.mark.parametrize("at", ["boot", "round"])
    def test_ctrl_c_twice_ends_at_once_and_clean(self, up, at):
        process = up.start(NUM_ROUNDS=ROUNDS, environ={"TEST_PAUSE_S": "30"})
        if at == "round":
            up.wait_for("round_started", round=1)
        else:
            while not (up.state / "processes.json").exists():
                time.sleep(0.05)
        token = up.token()
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Traceback" not in output
        assert not running(token)


def drain(descriptor, up):
    """Read a terminal until the first round has begun, then take it away."""
    with suppress(OSError):
        while not up.events("round_started"):
            os.read(descriptor, 65536)
    os.close(descriptor)
