"""Rounds that draw their clients, on real processes that are killed: the same draws, and the same bytes."""

import os
import subprocess
import sys
import time

import pytest

from oneflower.journal import read_journal

from .conftest import WAIT_S
from .recovery.simulated import simulated_sha256
from .test_up_crashes import sha256

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

DRAWN = {
    "CLIENTS_PER_ROUND": "2",
    "MIN_FIT_CLIENTS": "2",
    "EVALUATE_CLIENTS_PER_ROUND": "2",
    "NUM_ROUNDS": "6",
}
HUNDRED = {
    "CLIENTS_PER_ROUND": "10",
    "MIN_FIT_CLIENTS": "10",
    "EVALUATE_CLIENTS_PER_ROUND": "10",
    "NUM_ROUNDS": "8",
    "CHECKPOINT_ENABLED": "YES",
    "CHECKPOINT_INTERVAL": "1",
}


def events(folder):
    path = folder / "journal.jsonl"
    return [entry.event for entry in read_journal(path)] if path.exists() else []


def slots_of(found):
    """Return by round and phase which slots were drawn last."""
    return {(e.round, e.phase): e.slots for e in found if e.tag == "clients_sampled"}


def killed_simulation(folder, app, server_round, settings):
    """Start a simulation, and kill it in the middle of a round."""
    command = [sys.executable, "-m", "oneflower.cli.main", "simulate", "--clients", "100", "--quiet"]
    given = {f"FL_{name}": value for name, value in settings.items()}
    process = subprocess.Popen(
        [*command, "--state", str(folder), "--app", str(app)],
        env={
            **os.environ,
            **given,
            "FL_CHECKPOINT_PATH": str(folder / "checkpoints"),
            "TEST_VALUES": "8",
            "TEST_PAUSE_S": "0.1",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + WAIT_S
        while not any(e.tag == "reply_received" and e.round == server_round for e in events(folder)):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()


def test_a_simulation_of_a_hundred_clients_draws_the_same_ten_after_a_kill(tmp_path, numpy_app):
    expected = simulated_sha256(tmp_path / "whole", numpy_app, clients=100, **HUNDRED)
    killed_simulation(tmp_path / "killed", numpy_app, 4, HUNDRED)
    assert simulated_sha256(tmp_path / "killed", numpy_app, clients=100, **HUNDRED) == expected
    assert [e.round for e in events(tmp_path / "killed") if e.tag == "training_resumed"]
    drawn = slots_of(events(tmp_path / "killed"))
    assert drawn == slots_of(events(tmp_path / "whole"))
    assert {len(slots) for slots in drawn.values()} == {10}
    assert len(drawn) == 16


def test_a_cluster_that_is_killed_draws_the_same_clients_on_new_nodes(up, simulated, tmp_path):
    """Two of four SuperNodes a round. All processes are killed; the SuperNodes come back under other ids."""
    process = up.start("--nodes", "4", environ={"TEST_PAUSE_S": "1"}, **DRAWN)
    up.wait_for("reply_received", round=3)
    up.kill_everything(process)
    code, output = up.run("--nodes", "4", **DRAWN)
    assert code == 0, output
    assert up.events("training_resumed")
    assert sha256(output) == simulated(4, **DRAWN)
    by_phase = {}
    for event in up.events("clients_sampled"):
        by_phase.setdefault((event.round, event.phase), set()).add(event.slots)
    assert {len(draws) for draws in by_phase.values()} == {1}, "a round that was repeated drew others"
    assert len(by_phase) == 12
    assert {len(slots) for draws in by_phase.values() for slots in draws} == {2}
