"""A process that dies comes back, later each time; a dead SuperLink is left to the supervisor."""

import pytest

from oneflower.cluster.children import Death
from oneflower.cluster.keeper import HEALTHY_AFTER_S, Keeper
from oneflower.journal import Journal, read_journal

NODE = Death(role="supernode-1", reason="killed by signal 9")


@pytest.fixture
def keeper(cluster, clock, tmp_path):
    return Keeper(cluster=cluster, journal=Journal(tmp_path / "journal.jsonl"), clock=clock)


def seconds_until_restart(keeper, cluster, clock):
    cluster.dead, cluster.acts, began = [NODE], [], clock.now
    while not cluster.acts:
        keeper.tend()
        clock.sleep(0.5)
    return clock.now - began - 0.5


def test_a_dead_node_is_restarted_after_a_moment(keeper, cluster, clock, tmp_path):
    assert seconds_until_restart(keeper, cluster, clock) == 1.0
    assert cluster.acts == ["restart supernode-1"]
    assert cluster.forgotten == ["supernode-1"]
    events = [(event["event"], event["role"]) for event in read_journal(tmp_path / "journal.jsonl")]
    assert events == [("process_died", "supernode-1"), ("process_started", "supernode-1")]


def test_each_death_in_a_row_waits_longer_up_to_a_bound(keeper, cluster, clock):
    waits = [seconds_until_restart(keeper, cluster, clock) for _ in range(7)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_a_node_that_was_healthy_starts_again_soon(keeper, cluster, clock):
    for _ in range(4):
        seconds_until_restart(keeper, cluster, clock)
    clock.sleep(HEALTHY_AFTER_S + 1)
    assert seconds_until_restart(keeper, cluster, clock) == 1.0


def test_an_executor_of_its_own_is_restarted_too(keeper, cluster, clock):
    cluster.dead = [Death(role="superexec", reason="exit code 1")]
    for _ in range(4):
        keeper.tend()
        clock.sleep(0.5)
    assert cluster.acts == ["restart superexec"]


def test_a_dead_superlink_is_left_to_the_supervisor(keeper, cluster):
    cluster.dead = [Death(role="superlink", reason="exit code 1")]
    keeper.tend()
    assert cluster.acts == []


def test_a_healthy_cluster_is_left_alone(keeper, cluster):
    keeper.tend()
    assert cluster.acts == []
