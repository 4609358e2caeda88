"""A program whose output cannot be written continues, and ends with its own exit code."""

import os
import pty
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from oneflower.output import SteadyStream, steady_output

PROGRAM = textwrap.dedent(
    """
    import sys, time
    from oneflower.output import steady_output
    steady_output()
    sys.stdin.readline()
    for _ in range(3):
        print("x" * 100_000)
        sys.stderr.write("y" * 100_000)
        sys.stdout.flush()
    open(sys.argv[1], "w").write("done")
    """
)


def run(tmp_path, **streams):
    mark = tmp_path / "mark"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(mark)], stdin=subprocess.PIPE, start_new_session=True, **streams
    )
    return process, mark


def finish(process):
    process.stdin.write(b"\n")
    process.stdin.close()
    return process.wait(timeout=60)


def test_a_closed_pipe_does_not_end_the_process(tmp_path):
    process, mark = run(tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    process.stderr.close()
    assert finish(process) == 0
    assert mark.read_text() == "done"


def test_a_closed_terminal_does_not_end_the_process(tmp_path):
    ours, theirs = pty.openpty()
    process, mark = run(tmp_path, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.close(ours)
    assert finish(process) == 0
    assert mark.read_text() == "done"


def test_a_full_disk_does_not_end_the_process(tmp_path):
    with Path("/dev/full").open("wb") as full:
        process, mark = run(tmp_path, stdout=full, stderr=full)
    assert finish(process) == 0
    assert mark.read_text() == "done"


def test_streams_that_are_closed_from_the_start_are_replaced(tmp_path):
    command = f"exec {sys.executable} -c '{PROGRAM}' {tmp_path / 'mark'} >&- 2>&-"
    process = subprocess.Popen(["/bin/sh", "-c", command], stdin=subprocess.PIPE)
    assert finish(process) == 0


@pytest.fixture
def standard(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))


@pytest.mark.usefixtures("standard")
def test_what_is_written_arrives_and_the_stream_is_wrapped_once(capfd):
    steady_output()
    first = sys.stdout
    steady_output()
    assert sys.stdout is first
    assert isinstance(first, SteadyStream)
    print("hello")  # noqa: T201
    sys.stdout.flush()
    assert first.isatty() is False


def test_a_character_that_the_terminal_cannot_encode_ends_no_command():
    program = """
from oneflower.cli import main
main.app = lambda **_: print("mod\\xe8le \\ud800")
main.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "mod\\xe8le \\ud800\n")
