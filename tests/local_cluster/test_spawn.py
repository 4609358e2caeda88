"""A child has its own session and log, and is killed when its parent dies, even by SIGKILL."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from oneflower.errors import ClusterError, StateError
from oneflower.local_cluster.spawn import cut, spawn, tail
from oneflower.procfs import identify, is_alive, session_of

WAIT_S = 10.0
PARENT = """
import sys, time
from pathlib import Path
from oneflower.local_cluster.spawn import spawn
child = spawn("node", ["/bin/sleep", "60"], environment={}, log=Path(sys.argv[1]), folder=Path("/"))
print(child.pid, flush=True)
time.sleep(60)
"""


def run(tmp_path, script, **environment):
    return spawn(
        "node",
        [sys.executable, "-c", script],
        environment=environment,
        log=tmp_path / "node.log",
        folder=tmp_path,
    )


def test_a_child_runs_in_its_own_session_with_its_environment_folder_and_log(tmp_path):
    child = run(tmp_path, "import os; print(os.getsid(0), os.getcwd(), sorted(os.environ))", A="1")
    assert child.popen.wait(timeout=WAIT_S) == 0
    words = child.log.read_text()
    assert words.startswith(f"{child.pid} {tmp_path} ")
    assert "'A'" in words
    assert "PATH" not in words


def test_the_recorded_identity_is_that_of_the_program(tmp_path):
    child = run(tmp_path, "import time; time.sleep(60)")
    try:
        assert session_of(child.pid) == child.pid
        assert is_alive(child.identity)
        assert child.exit_code() is None
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.popen.wait()
    assert child.exit_code() == -signal.SIGKILL


def test_a_child_dies_with_a_parent_that_is_killed(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log")], stdout=subprocess.PIPE
    ) as parent:
        child = identify(int(parent.stdout.readline()))
        assert child is not None
        parent.kill()
    deadline = time.monotonic() + WAIT_S
    while is_alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_program_that_does_not_exist_ends_with_a_log(tmp_path):
    log = tmp_path / "log"
    with suppress(ClusterError):  # it may end before it is looked at
        child = spawn("node", ["/no/such"], environment={}, log=log, folder=tmp_path)
        assert child.popen.wait(timeout=WAIT_S) != 0
    assert "No such file" in tail(log)


def test_a_folder_that_does_not_exist_is_reported(tmp_path):
    with pytest.raises(ClusterError, match="node"):
        spawn("node", ["/bin/true"], environment={}, log=tmp_path / "log", folder=tmp_path / "none")


def test_a_log_that_cannot_be_written_is_reported(tmp_path):
    with pytest.raises(StateError, match="none"):
        spawn("node", ["/bin/true"], environment={}, log=tmp_path / "none" / "log", folder=tmp_path)


def test_the_tail_of_a_log_is_its_last_lines(tmp_path):
    (tmp_path / "log").write_text("\n".join(str(n) for n in range(10000)))
    lines = tail(tmp_path / "log").splitlines()
    assert len(lines) == 16
    assert lines[-1] == "  | 9999"
    assert "cannot be read" in tail(tmp_path / "none")


class TestCut:
    """A client can make a SuperLink write lines for as long as it likes."""

    def test_a_log_that_is_too_long_begins_again_and_its_first_part_is_kept(self, tmp_path):
        script = "import time\nprint('x' * 1000, flush=True); time.sleep(60)"
        child = run(tmp_path, script)
        try:
            wait_until(lambda: child.log.stat().st_size > 1000)
            cut(child.log, max_bytes=1000)
            assert child.log.stat().st_size == 0
            assert child.log.with_suffix(".log.1").read_text() == "x" * 1000 + "\n"
        finally:
            os.killpg(child.pid, signal.SIGKILL)
            child.popen.wait()

    def test_the_process_writes_on_at_the_start_of_the_file(self, tmp_path):
        script = (
            "import os, time\nprint('a' * 100, flush=True)\n"
            "while not os.path.exists('go'): time.sleep(0.01)\nprint('b' * 10, flush=True)"
        )
        child = run(tmp_path, script)
        wait_until(lambda: child.log.stat().st_size > 100)
        cut(child.log, max_bytes=50)
        (tmp_path / "go").touch()
        assert child.popen.wait(timeout=WAIT_S) == 0
        assert child.log.read_bytes() == b"b" * 10 + b"\n"

    def test_a_short_one_stays(self, tmp_path):
        log = tmp_path / "node.log"
        log.write_text("short")
        cut(log, max_bytes=5)
        assert log.read_text() == "short"
        assert not log.with_suffix(".log.1").exists()

    def test_one_that_is_not_there_is_no_error(self, tmp_path):
        cut(tmp_path / "node.log")


def wait_until(condition):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_log_that_is_a_link_or_a_pipe_is_refused_at_once(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    log = tmp_path / "log"
    log.symlink_to(victim)
    with pytest.raises(StateError, match="symbolic link"):
        spawn("node", ["/bin/true"], environment={}, log=log, folder=tmp_path)
    assert "cannot be read" in tail(log)
    log.unlink()
    os.mkfifo(log)
    with pytest.raises(StateError, match="named pipe"):
        spawn("node", ["/bin/true"], environment={}, log=log, folder=tmp_path)
    assert "cannot be read" in tail(log)
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("which", ["log", "log.1"])
def test_a_log_is_cut_through_no_link(tmp_path, which):
    """Whoever can write the folder would have any file of the user overwritten."""
    victim = tmp_path / "victim"
    victim.write_text("precious" * 10)
    (tmp_path / "a.log").write_text("x" * 100)
    (tmp_path / f"a.{which}").unlink(missing_ok=True)
    (tmp_path / f"a.{which}").symlink_to(victim)
    cut(tmp_path / "a.log", max_bytes=10)
    assert victim.read_text() == "precious" * 10
    if which == "log.1":
        assert (tmp_path / "a.log").stat().st_size == 0
        assert (tmp_path / "a.log.1").read_text() == "x" * 100
        assert (tmp_path / "a.log.1").stat().st_mode & 0o777 == 0o600
