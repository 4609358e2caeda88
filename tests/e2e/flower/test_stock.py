"""Flower's own programs and ours work together, in both directions."""

import pytest

from oneflower.flower.programs import WARM_EXECUTOR

pytestmark = pytest.mark.e2e


def test_a_stock_supernode_and_ours_serve_our_superlink(federation):
    federation.superlink()
    federation.supernode(0)
    federation.supernode(1, stock=True)
    lines = federation.run(nodes=2, rounds=2)
    assert [line["lost"] for line in lines if "lost" in line] == [0, 0]
    assert [line["error"] for line in lines if "node" in line] == [None] * 4


def test_a_stock_supernode_joins_with_a_key_of_fl_node_keys_and_a_stranger_does_not(federation):
    federation.take_known_keys_only(0, 1)
    federation.superlink()
    federation.supernode(0)
    federation.supernode(1, stock=True)
    stranger = federation.supernode(2, stock=True)
    lines = federation.run(nodes=2, rounds=1)
    assert [line["error"] for line in lines if "node" in line] == [None] * 2
    assert stranger.wait(60) != 0
    assert "takes only SuperNodes whose public key it knows" in federation.logs()


def test_our_supernode_serves_a_stock_superlink(federation):
    federation.superlink(stock=True)
    federation.supernode(0)
    lines = federation.run(nodes=1, rounds=2)
    assert [line["sum"] for line in lines if "node" in line] == [499500.0] * 2


def test_with_both_switches_off_it_is_flower_itself(federation):
    off = {"FL_FLOWER_WORKAROUNDS": "NO", "FL_WARM_EXECUTOR": "NO"}
    federation.superlink(**off)
    federation.supernode(0, **off)
    federation.run(nodes=1)
    commands = " ".join(federation.alive().values())
    assert "flower-superexec" in commands
    assert WARM_EXECUTOR not in commands


def test_without_the_warm_executor_each_message_has_a_new_process(federation):
    federation.superlink()
    federation.supernode(0, FL_WARM_EXECUTOR="NO")
    lines = federation.run(nodes=1, rounds=2)
    assert [line["error"] for line in lines if "node" in line] == [None, None]
    assert WARM_EXECUTOR not in " ".join(federation.alive().values())
