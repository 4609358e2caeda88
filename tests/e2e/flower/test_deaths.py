"""What dies in a SuperNode is answered for in seconds, and nothing stays behind."""

import os
import signal

import pytest
from flwr.common.constant import ErrorCode

pytestmark = pytest.mark.e2e

LEASE_S = 30.0
"""Flower's own answer to a dead ClientApp comes 30 to 60 s after its death, if it comes."""


def pid_of(federation, part):
    return next(pid for pid, command in federation.alive().items() if part in command)


def test_a_client_that_is_killed_is_answered_for_and_the_next_round_is_whole(federation):
    federation.superlink()
    federation.supernode(0)
    federation.supernode(1)
    federation.run(nodes=2, rounds=2, act="die")
    first = {line["error"]: line for line in federation.replies(1)}
    assert set(first) == {None, ErrorCode.CLIENT_APP_CRASHED}
    assert first[ErrorCode.CLIENT_APP_CRASHED]["reason"].startswith(
        "ClientApp stopped responding: killed by signal 9"
    )
    assert first[ErrorCode.CLIENT_APP_CRASHED]["seconds"] < LEASE_S
    assert [line["error"] for line in federation.replies(2)] == [None, None]


def test_an_executor_that_is_killed_comes_back_and_its_message_is_answered_for(federation):
    federation.superlink()
    federation.supernode(0)
    run_id = federation.submit(nodes=1, rounds=2, act="sleep")
    client = federation.client_pid(0)
    os.kill(pid_of(federation, "flower.launch warm-executor"), signal.SIGKILL)
    federation.until(lambda: client not in federation.alive())
    federation.finish(run_id)
    (first,) = federation.replies(1)
    # Where the SuperNode's answer takes long, the app's grid has sent the message again, and that one counts.
    assert first["error"] in {None, ErrorCode.CLIENT_APP_CRASHED}
    assert first["seconds"] < 2 * LEASE_S
    assert [line["error"] for line in federation.replies(2)] == [None]


def test_nothing_of_a_supernode_outlives_kill_9(federation):
    federation.superlink()
    node = federation.supernode(0)
    federation.submit(nodes=1, act="sleep")
    federation.client_pid(0)
    node.kill()
    node.wait()

    def left():
        parts = (
            "flower.launch supernode",
            "flower.launch warm-executor",
            "oneflower.flower.v1_25.warm.zygote",
        )
        return [command for command in federation.alive().values() if any(part in command for part in parts)]

    federation.until(lambda: not left())


def test_a_superexec_that_is_killed_comes_back(federation):
    """Flower never starts it again, and no run would ever start."""
    federation.superlink()
    federation.supernode(0)
    os.kill(pid_of(federation, "launch superexec"), signal.SIGKILL)
    lines = federation.run(nodes=1)
    assert [line["error"] for line in lines if "node" in line] == [None]
