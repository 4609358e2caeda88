"""A process that commits in a loop is killed, really, and nothing that it was told is committed is lost."""

import importlib.util
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from oneflower.checkpoints import CheckpointReader

KILLS = 200
LOOP = Path(__file__).with_name("commit_loop.py")


@pytest.fixture
def expected():
    """Return the function by which the loop makes the checkpoint of a round."""
    spec = importlib.util.spec_from_file_location("commit_loop", LOOP)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.checkpoint


@pytest.fixture
def server(scratch):
    """Return the process that forks writers."""
    process = subprocess.Popen(
        [sys.executable, str(LOOP), str(scratch / "checkpoints")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        bufsize=1,
    )
    yield process
    process.stdin.close()
    process.wait(30)
    process.stdout.close()


def kill_one(server, delay_s):
    """Start a writer, kill it after `delay_s` seconds, and return the last round whose save returned."""
    server.stdin.write("go\n")
    acked, killer = 0, None
    for line in server.stdout:
        word, *number = line.split()
        if word == "pid":
            killer = threading.Timer(delay_s, os.kill, (int(number[0]), signal.SIGKILL))
            killer.start()
        elif word == "acked":
            acked = int(number[0])
        elif word == "ended":
            break
    killer.join()
    return acked


def test_no_commit_is_lost_in_200_kills_at_random_moments(server, scratch, same, expected, count):
    rng, root = random.Random(0), scratch / "checkpoints"
    found, inside = 0, 0
    for _ in range(KILLS):
        promised = max(found, kill_one(server, rng.uniform(0.001, 0.06)))
        count("kills")
        inside += bool(list(root.glob(".checkpoint_round*.tmp")))
        newest = CheckpointReader(root).latest()
        assert newest is None or same(newest, expected(newest.round))
        found = newest.round if newest else 0
        assert found in (promised, promised + 1)
    count("kills inside a commit", inside)
    assert inside > KILLS / 20
    assert not list(root.glob("*damaged*"))


def test_a_reader_beside_the_writer_always_finds_a_whole_checkpoint(server, scratch, same, expected):
    """A checkpoint that retention lets go while it is read is passed over, never returned torn."""
    server.stdin.write("go\n")
    root = scratch / "checkpoints"
    pid = int(server.stdout.readline().split()[1])
    deadline = time.monotonic() + 60
    seen = []
    drain = threading.Thread(target=lambda: next(line for line in server.stdout if line == "ended\n"))
    drain.start()
    try:
        while len(seen) < 30 and time.monotonic() < deadline:
            newest = CheckpointReader(root).latest()
            if newest is not None:
                assert same(newest, expected(newest.round))
                seen.append(newest.round)
    finally:
        os.kill(pid, signal.SIGKILL)
        drain.join(30)
    assert len(seen) == 30
    assert seen == sorted(seen)
