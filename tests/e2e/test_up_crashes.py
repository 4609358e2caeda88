"""`oneflower up` that is killed, or whose processes are: nothing stays behind, and the model is the same."""

import os
import re
import signal
import time
from contextlib import suppress

import pytest

from oneflower.flower.programs import program_of
from oneflower.local_cluster.processes import MARKER
from oneflower.procfs import command_line, parent_of, with_environment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

WAIT_S = 240


def sha256(output):
    return re.search(r"^SHA-256 +([0-9a-f]{64})$", output, re.MULTILINE)[1]


def running(token):
    return list(with_environment(MARKER, token))


def test_every_process_may_be_killed_in_turn_and_the_model_is_the_same(up, simulated):
    """A SuperNode, the ServerApp, the SuperLink, at last `oneflower up`, whose stopped processes outlive it.

    Stopped processes do not see that their parent has gone: what a kernel or a debugger may do to any.
    """
    process = up.start(NUM_ROUNDS="9", environ={"TEST_PAUSE_S": "1"})
    up.wait_for("round_started", round=2)
    os.kill(up.pid("supernode-1"), signal.SIGKILL)
    up.wait_for("process_started", role="supernode-1")

    up.wait_for("round_started", round=4)
    (app,) = [each for each in running(up.token()) if program_of(command_line(each.pid)) == "serverapp"]
    os.kill(app.pid, signal.SIGKILL)
    assert up.wait_for("training_resumed").round == 3

    up.wait_for("round_started", round=6)
    os.kill(up.pid("superlink"), signal.SIGKILL)
    up.wait_for("training_resumed", round=5)
    assert len(up.events("run_lost")) == 2

    up.wait_for("round_started", round=8)
    token = up.token()
    for identity in running(token):
        if identity.pid not in (up.pid("superlink"), process.pid):
            os.kill(identity.pid, signal.SIGSTOP)
    process.kill()
    process.wait()
    assert running(token)
    code, output = up.run(NUM_ROUNDS="9")
    assert code == 0, output
    assert "had left running" in output
    assert not running(token)
    assert [e.round for e in up.events("training_resumed")] == [3, 5, 7]
    assert sha256(output) == simulated(2, NUM_ROUNDS="9")


def test_an_interrupted_up_leaves_no_process_and_goes_on_the_next_time(up, simulated):
    """Ended in a round, by Ctrl-C twice in a round, and by Ctrl-C twice while it boots."""
    process = up.start(NUM_ROUNDS="3", environ={"TEST_PAUSE_S": "2"})
    up.wait_for("checkpoint_saved", round=1)
    ends_clean(up, process, signal.SIGTERM)

    rounds = len(up.events("round_started"))
    process = up.start(NUM_ROUNDS="3", environ={"TEST_PAUSE_S": "30"})
    up.wait_until(lambda: len(up.events("round_started")) > rounds)
    ends_clean(up, process, signal.SIGINT, signal.SIGINT)

    process = up.start(NUM_ROUNDS="3")
    up.wait_until((up.state / "processes.json").exists)
    ends_clean(up, process, signal.SIGINT, signal.SIGINT)

    code, output = up.run(NUM_ROUNDS="3")
    assert code == 0, output
    assert "training goes on after round" in output
    assert sha256(output) == simulated(2, NUM_ROUNDS="3")


def ends_clean(up, process, *signals):
    token = up.token()
    for number in signals:
        with suppress(ProcessLookupError):
            process.send_signal(number)
        time.sleep(0.3)
    output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert "Traceback" not in output
    assert not running(token)
    assert not (up.state / "processes.json").exists()


def test_a_killed_executor_is_noticed_where_nobody_starts_it_again(up):
    """Stock Flower never starts a dead superexec again: the node stays online and does nothing."""
    stock = {"FLOWER_WORKAROUNDS": "NO", "WARM_EXECUTOR": "NO", "NUM_ROUNDS": "2"}
    process = up.start(environ={"TEST_PAUSE_S": "1"}, **stock)
    up.wait_for("round_started", round=2)
    node = up.pid("supernode-0")
    executor = next(each.pid for each in running(up.token()) if parent_of(each.pid) == node)
    os.kill(executor, signal.SIGKILL)
    output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, output
    assert "executor" in up.events("process_died")[0].reason
