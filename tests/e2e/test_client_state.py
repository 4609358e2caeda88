"""SCAFFOLD's control variates, and a local head with its BatchNorm, survive SIGKILL.

A resume ends with equal bytes. The apps are stock ones, and seed nothing.
"""

import os
import shutil
import subprocess
import sys
import time

import pytest

from oneflower.journal import read_journal

from .conftest import WAIT_S
from .recovery.simulated import simulate
from .stateful_apps import APPS, write_stateful_app
from .test_up_crashes import sha256

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

SETTINGS = {"FL_NUM_ROUNDS": "5", "FL_CHECKPOINT_ENABLED": "YES", "FL_CHECKPOINT_INTERVAL": "1"}


@pytest.fixture(params=sorted(APPS))
def app(request, tmp_path):
    return write_stateful_app(tmp_path / "app", request.param)


def uninterrupted(tmp_path, app):
    return simulate(tmp_path / "one", "--app", app, clients=2, environ=SETTINGS)


def killed_simulation(folder, app):
    """Start a simulation and kill it in a round after that of a checkpoint."""
    command = [sys.executable, "-m", "oneflower.cli.main", "simulate", "--clients", "2", "--quiet"]
    process = subprocess.Popen(
        [*command, "--state", str(folder), "--app", str(app)],
        env={**os.environ, **SETTINGS, "TEST_PAUSE_S": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + WAIT_S
        while not any(e.tag == "round_started" and e.round == 4 for e in events(folder)):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()


def events(folder):
    path = folder / "journal.jsonl"
    return [entry.event for entry in read_journal(path)] if path.exists() else []


def test_a_killed_simulation_resumes_with_the_state_of_its_clients(tmp_path, app):
    expected = uninterrupted(tmp_path, app)
    killed_simulation(tmp_path / "two", app)
    shutil.copytree(tmp_path / "two", tmp_path / "lost", symlinks=True)
    assert simulate(tmp_path / "two", "--app", app, clients=2, environ=SETTINGS) == expected
    assert not [e for e in events(tmp_path / "two") if e.tag == "client_state_lost"]

    shutil.rmtree(tmp_path / "lost" / "client-state")
    assert simulate(tmp_path / "lost", "--app", app, clients=2, environ=SETTINGS) != expected
    (lost,) = [e for e in events(tmp_path / "lost") if e.tag == "client_state_lost"]
    assert len(lost.clients) == 2


def test_a_killed_cluster_resumes_with_the_state_of_its_clients(tmp_path, app, up):
    process = up.start(app=app, NUM_ROUNDS="5", environ={"TEST_PAUSE_S": "1"})
    up.wait_for("round_started", round=4)
    up.kill_everything(process)
    code, output = up.run(app=app, NUM_ROUNDS="5")
    assert code == 0, output
    assert [e.round for e in up.events("training_resumed")] == [3]
    assert [e.kept for e in up.events("client_state_kept")] == ["disk"]
    assert not up.events("client_state_lost")
    assert sha256(output) == uninterrupted(tmp_path, app)
