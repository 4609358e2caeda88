"""A dead process is restarted with a growing delay; a dead SuperLink is left to the supervisor."""

import errno

import pytest

from oneflower.codes import StallAct, StallCode
from oneflower.errors import ClusterError, SettingsError, StateError
from oneflower.flower.health import Stalled
from oneflower.journal import Journal
from oneflower.local_cluster.children import Death
from oneflower.local_cluster.restarter import HEALTHY_AFTER_S, ProcessRestarter

from ..making import events_in

NODE = Death(role="supernode-1", reason="killed by signal 9")


@pytest.fixture
def restarter(cluster, clock, tmp_path):
    return ProcessRestarter(cluster=cluster, journal=Journal(tmp_path / "journal.jsonl"), clock=clock)


def seconds_until_restart(restarter, cluster, clock):
    cluster.dead, cluster.acts, began = [NODE], [], clock.now
    while not cluster.acts:
        restarter.tend()
        clock.sleep(0.5)
    return clock.now - began - 0.5


def test_a_dead_node_is_restarted_after_a_delay(restarter, cluster, clock, tmp_path):
    assert seconds_until_restart(restarter, cluster, clock) == 1.0
    assert cluster.acts == ["restart supernode-1"]
    assert cluster.forgotten == ["supernode-1"]
    events = [(event.tag, event.role) for event in events_in(tmp_path / "journal.jsonl")]
    assert events == [("process_died", "supernode-1"), ("process_started", "supernode-1")]


def test_the_delay_grows_with_each_consecutive_death_up_to_a_limit(restarter, cluster, clock):
    waits = [seconds_until_restart(restarter, cluster, clock) for _ in range(7)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_a_node_that_was_healthy_is_restarted_after_the_first_delay(restarter, cluster, clock):
    for _ in range(4):
        seconds_until_restart(restarter, cluster, clock)
    clock.sleep(HEALTHY_AFTER_S + 1)
    assert seconds_until_restart(restarter, cluster, clock) == 1.0


def test_a_separate_executor_is_restarted_too(restarter, cluster, clock):
    cluster.dead = [Death(role="superexec", reason="exit code 1")]
    for _ in range(4):
        restarter.tend()
        clock.sleep(0.5)
    assert cluster.acts == ["restart superexec"]


def test_a_dead_superlink_is_left_to_the_supervisor(restarter, cluster):
    cluster.dead = [Death(role="superlink", reason="exit code 1")]
    restarter.tend()
    assert cluster.acts == []


def test_a_healthy_cluster_is_left_alone(restarter, cluster):
    restarter.tend()
    assert cluster.acts == []


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EAGAIN, "no process left"), ClusterError("cannot start it"), StateError("disk full")],
)
def test_a_failed_start_is_reported_and_repeated(restarter, cluster, clock, tmp_path, error):
    """A temporary lack of processes, memory or disk space fails only this start."""
    cluster.dead, cluster.refusals = [NODE], [error, error]
    for _ in range(40):
        restarter.tend()
        clock.sleep(0.5)
        cluster.dead = [NODE] if cluster.acts == [] else []
    assert cluster.acts == ["restart supernode-1"] * 3
    told = [(event.tag, getattr(event, "reason", "")) for event in events_in(tmp_path / "journal.jsonl")]
    assert [name for name, _ in told] == ["process_died"] * 3 + ["process_started"]
    assert str(error) in told[1][1]


def test_a_start_that_can_never_succeed_is_an_error(restarter, cluster, clock):
    cluster.dead, cluster.refusals = [NODE], [SettingsError("no such program")]
    restarter.tend()
    clock.sleep(2)
    with pytest.raises(SettingsError):
        restarter.tend()


def test_the_action_on_a_stalled_process_is_in_the_journal(restarter, cluster, tmp_path):
    cluster.stalls = [
        Stalled(role="supernode-0", pid=5, act=StallAct.ENDED, code=StallCode.HANGS, reason="it hangs")
    ]
    restarter.tend()
    (event,) = events_in(tmp_path / "journal.jsonl")
    assert (event.tag, event.role, event.done) == ("process_stalled", "supernode-0", "ended")
