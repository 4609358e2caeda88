"""A process that commits in a loop is killed by SIGKILL, and no round reported as committed is lost."""

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
    """Return the function with which the loop makes the checkpoint of a round."""
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


def kill_one(server, delay_s, *, after):
    """Start a writer and kill it; return the last round whose save returned.

    The delay is counted from the writer's line `after`: `pid`, so that the kill may hit its opening, or
    `acked`, so that it is committing.
    """
    server.stdin.write("go\n")
    acked, pid, killer = 0, 0, None
    for line in server.stdout:
        word, *number = line.split()
        if word == "pid":
            pid = int(number[0])
        if word == after and killer is None:
            killer = threading.Timer(delay_s, os.kill, (pid, signal.SIGKILL))
            killer.start()
        if word == "acked":
            acked = int(number[0])
        elif word == "ended":
            break
    killer.join()
    return acked


def test_no_commit_is_lost_in_200_kills_at_random_moments(server, scratch, same, expected, count):
    rng, root = random.Random(0), scratch / "checkpoints"
    found, inside = 0, 0
    for number in range(KILLS):
        after = ("pid", "acked")[number % 2]
        promised = max(found, kill_one(server, rng.uniform(0.001, 0.04), after=after))
        count("kills")
        inside += bool(list(root.glob(".checkpoint_round*.tmp")))
        newest = CheckpointReader(root).latest()
        assert newest is None or same(newest, expected(newest.round))
        found = newest.round if newest else 0
        assert found in (promised, promised + 1)
    count("kills inside a commit", inside)
    assert inside
    assert not list(root.glob("*damaged*"))


def test_a_concurrent_reader_always_finds_an_intact_checkpoint(server, scratch, same, expected):
    """A checkpoint that retention deletes while it is read is skipped, never returned in part."""
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
