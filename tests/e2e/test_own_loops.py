"""Stock apps with loops of their own: killed by SIGKILL and resumed, they end with the same bytes."""

import os
import subprocess
import sys
import time

import pytest

from oneflower.settings import render_context

from .conftest import WAIT_S, Up
from .loop_apps import APPS, write_loop_app

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("own_loops")]

NODES, PAUSE_S = 3, "0.4"


class Simulation:
    """`oneflower simulate` of an app as a process of its own."""

    def __init__(self, folder, app):
        self.folder, self.app = folder, app
        self.context = folder / "context.sh"
        self.context.write_text(render_context({"FL_CHECKPOINT_ENABLED": "YES"}))

    def start(self, name, pause_s="0"):
        command = [sys.executable, "-m", "oneflower.cli.main", "simulate", "--clients", str(NODES)]
        command += [
            "--context",
            str(self.context),
            "--app",
            str(self.app),
            "--state",
            str(self.folder / name),
        ]
        environ = {"TEST_PAUSE_S": pause_s, "TEST_FINAL": str(self.folder / f"{name}.final")}
        return subprocess.Popen(
            command,
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, name):
        output, _ = (process := self.start(name)).communicate(timeout=WAIT_S)
        assert process.returncode == 0, output
        return (self.folder / f"{name}.final").read_text()


def recorded(state):
    return len(list((state / "checkpoints" / "exchanges").glob("*.reply")))


@pytest.mark.parametrize("name", list(APPS))
def test_an_app_that_was_killed_ends_with_the_same_bytes(tmp_path, name):
    app = write_loop_app(tmp_path / "app", name)
    simulation = Simulation(tmp_path, app)
    expected = simulation.run("whole")

    process = simulation.start("killed", PAUSE_S)
    deadline = time.monotonic() + WAIT_S
    while recorded(tmp_path / "killed") < 5:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert not (tmp_path / "killed.final").exists()
    assert simulation.run("killed") == expected

    processes = []
    up = Up(tmp_path / "up", app, processes)
    up.state.parent.mkdir()
    final = tmp_path / "up.final"
    options = ("--nodes", str(NODES))
    environ = {"TEST_PAUSE_S": PAUSE_S, "TEST_FINAL": str(final)}
    try:
        started = up.start(*options, environ=environ)
        up.wait_until(lambda: recorded(up.state) >= 5)
        up.kill_everything(started)
        assert not final.exists()
        code, output = up.run(*options, environ=environ)
    finally:
        for each in processes:
            if each.poll() is None:
                each.terminate()
                each.wait(timeout=60)
            each.stdout.close()
    assert code == 0, output
    assert final.read_text() == expected
    started = up.events("loop_started")
    assert [event.recorded >= 5 for event in started] == [False, True]
    assert len(up.events("loop_finished")) == 1
