"""`oneflower up` that is killed, or whose processes are: nothing stays behind, and the model is the same."""

import os
import re
import signal
import time

import pytest

from oneflower.flower.programs import program_of
from oneflower.local_cluster.processes import MARKER
from oneflower.procfs import command_line, parent_of, with_environment

pytestmark = pytest.mark.e2e


def sha256(output):
    return re.search(r"^SHA-256 +([0-9a-f]{64})$", output, re.MULTILINE)[1]


def running(token):
    return list(with_environment(MARKER, token))


@pytest.fixture
def undisturbed(up):
    """The hash of the same training without a disturbance, in a folder that is then set aside."""
    code, output = up.run(NUM_ROUNDS="4")
    assert code == 0, output
    up.state.rename(up.state.with_name("undisturbed"))
    return sha256(output)


def test_after_kill_9_the_next_up_ends_what_is_left_and_trains_the_same_model(up, undisturbed):
    process = up.start(NUM_ROUNDS="4", environ={"TEST_PAUSE_S": "1"})
    up.wait_for("round_started", round=3)
    token = up.token()
    assert running(token)
    process.kill()
    process.wait()

    code, output = up.run(NUM_ROUNDS="4")
    assert code == 0, output
    assert not running(token)
    assert sha256(output) == undisturbed
    assert [e.round for e in up.events("training_resumed")] == [2]


def test_processes_that_outlive_their_parent_are_ended_by_the_next_up(up):
    """Stopped processes do not see that their parent has gone: what a kernel or a debugger may do to any."""
    process = up.start(NUM_ROUNDS="1", environ={"TEST_PAUSE_S": "60"})
    up.wait_for("round_started", round=1)
    token = up.token()
    time.sleep(2)
    apps = [identity for identity in running(token) if identity.pid != up.pid("superlink")]
    for identity in apps:
        os.kill(identity.pid, signal.SIGSTOP)
    process.kill()
    process.wait()
    left = running(token)
    assert left

    code, output = up.run(NUM_ROUNDS="1")
    assert code == 0, output
    assert "had left running" in output
    assert not running(token)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_up_leaves_no_process_and_goes_on_the_next_time(up, number):
    process = up.start(NUM_ROUNDS="3", environ={"TEST_PAUSE_S": "2"})
    up.wait_for("checkpoint_saved", round=1)
    token = up.token()
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not running(token)
    assert not (up.state / "processes.json").exists()

    code, output = up.run(NUM_ROUNDS="3")
    assert code == 0, output
    assert "training goes on after round" in output


def test_a_killed_supernode_comes_back_and_the_training_ends(up):
    process = up.start(NUM_ROUNDS="3", environ={"TEST_PAUSE_S": "1"})
    up.wait_for("round_started", round=2)
    pid = up.pid("supernode-1")
    os.kill(pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert up.events("process_started")[0].role == "supernode-1"
    assert max(e.round for e in up.events("round_completed")) == 3


def test_a_killed_superlink_is_booted_anew_and_the_model_is_the_same(up, undisturbed):
    process = up.start(NUM_ROUNDS="4", environ={"TEST_PAUSE_S": "1"})
    up.wait_for("round_started", round=3)
    os.kill(up.pid("superlink"), signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert len(up.events("run_lost")) == 1
    assert sha256(output) == undisturbed


def test_a_killed_serverapp_is_submitted_again_and_the_model_is_the_same(up, undisturbed):
    process = up.start(NUM_ROUNDS="4", environ={"TEST_PAUSE_S": "1"})
    up.wait_for("round_started", round=3)
    apps = [each for each in running(up.token()) if program_of(command_line(each.pid)) == "serverapp"]
    os.kill(apps[0].pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert sha256(output) == undisturbed


def test_a_killed_executor_is_noticed_where_nobody_starts_it_again(up):
    """Stock Flower never starts a dead superexec again: the node stays online and does nothing."""
    stock = {"FLOWER_WORKAROUNDS": "NO", "WARM_EXECUTOR": "NO", "NUM_ROUNDS": "2"}
    process = up.start(environ={"TEST_PAUSE_S": "1"}, **stock)
    up.wait_for("round_started", round=2)
    node = up.pid("supernode-0")
    executor = next(each.pid for each in running(up.token()) if parent_of(each.pid) == node)
    os.kill(executor, signal.SIGKILL)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert "executor" in up.events("process_died")[0].reason
