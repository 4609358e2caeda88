"""What a round costs, by its steps and calls."""

import pytest

from oneflower.capacity import Federation, open_files, round_cost, rounds, superlink_memory_mb, through_sites
from oneflower.capacity.rounds import (
    MOST_NODES,
    evaluation_calls,
    evaluation_steps,
    training_calls,
    training_steps,
)
from oneflower.flower.v1_25 import bundles
from oneflower.flower.v1_25.workarounds import node_limits


def federation(**values):
    return Federation(**{"nodes": 100, "model_bytes": 400_000, **values})


def test_steps_are_the_calls_of_flower():
    """Question, receipt and reply; message and records; two objects for each of four arrays."""
    train = 3 + (5 + 8) + (3 + 1 + 8)
    evaluate = 3 + (5 + 8) + 3
    assert (training_steps(federation()), evaluation_steps(federation())) == (train, evaluate)


@pytest.mark.parametrize(
    ("model_bytes", "arrays", "calls"),
    [
        (400_000, 4, (3 + 4 + 4, 3 + 4)),  # only the contents of the arrays have calls of their own
        (40_000, 4, (3, 3)),
        (20 << 20, 1, (3 + 4 + 4, 3 + 4)),
        (100 * 2_000_000, 100, (3 + (100 + 41) + (100 + 40), 3 + 100 + 41)),  # 64 go with the message
    ],
)
def test_small_objects_have_no_calls(model_bytes, arrays, calls):
    case = federation(model_bytes=model_bytes, arrays=arrays)
    assert (training_calls(case), evaluation_calls(case)) == calls


def test_what_travels_with_a_message_is_what_is_counted():
    assert rounds.WITH_MESSAGE == bundles.MESSAGE_OBJECTS
    assert rounds.WITH_MESSAGE_BYTES == bundles.OBJECT_BYTES


def test_the_most_nodes_are_those_that_a_superlink_admits():
    assert MOST_NODES == node_limits.MOST_NODES


@pytest.mark.parametrize(
    ("model_bytes", "arrays", "objects"),
    [
        (400_000, 4, 8),
        (400_000, 300, 2),  # packed into one
        (400_000, 15, 30),
        (20 << 20, 1, 5),  # four pieces of 5 MiB
        (300 * 2_000_000, 300, 600),  # too large to be packed
    ],
)
def test_the_objects_of_a_model(model_bytes, arrays, objects):
    assert federation(model_bytes=model_bytes, arrays=arrays).objects == objects


def test_twice_the_nodes_cost_more_than_twice_as_much():
    one, two = round_cost(federation()), round_cost(federation(nodes=200))
    assert two.calls == 2 * one.calls
    assert 2 * one.seconds < two.seconds < 3 * one.seconds


# As docs/scale.md has them, of `python benchmarks/scale.py`.
@pytest.mark.parametrize(
    ("nodes", "seconds", "superlink_mb"),
    [(10, 1.1, 105), (50, 5.8, 130), (100, 12.4, 160), (300, 36.6, 251), (1000, 177.3, 484)],
)
def test_the_formulas_are_near_what_was_measured(nodes, seconds, superlink_mb):
    case = federation(nodes=nodes)
    assert round_cost(case).seconds == pytest.approx(seconds, rel=0.2)
    assert superlink_memory_mb(case) == pytest.approx(superlink_mb, rel=0.2)


@pytest.mark.parametrize(
    ("nodes", "megabytes", "seconds", "superlink_s"),
    [(10, 10, 8.2, 6.5), (10, 25, 15.9, 12.7), (50, 10, 39.6, 31.6), (10, 100, 63.0, 47.4)],
)
def test_the_formulas_are_near_what_was_measured_with_larger_models(nodes, megabytes, seconds, superlink_s):
    cost = round_cost(federation(nodes=nodes, model_bytes=1_000_000 * megabytes, arrays=10))
    assert cost.seconds == pytest.approx(seconds, rel=0.15)
    assert cost.superlink_cpu_s == pytest.approx(superlink_s, rel=0.1)


def test_a_round_costs_what_its_clients_do_and_the_others_slow_it_down():
    all_nodes, drawn = federation(nodes=6000), federation(nodes=6000, training=100, evaluating=100)
    few = round_cost(federation(nodes=100))
    assert round_cost(drawn).superlink_cpu_s == few.superlink_cpu_s
    assert few.seconds < round_cost(drawn).seconds < 3 * few.seconds
    assert superlink_memory_mb(drawn) <= superlink_memory_mb(all_nodes)
    assert open_files(drawn) > 6000
    assert round_cost(federation(nodes=13_000, training=1)).seconds == float("inf")
    assert federation(nodes=5, training=100).trained == 5


def test_all_nodes_evaluate_unless_those_are_drawn_too():
    """As FL_EVALUATE_CLIENTS_PER_ROUND is 0 by default."""
    trained, both = (federation(nodes=1000, training=10, **each) for each in ({}, {"evaluating": 10}))
    assert (trained.trained, trained.evaluated, trained.at_work) == (10, 1000, 1000)
    assert round_cost(trained).bytes_down == (10 + 1000) * 400_000
    assert round_cost(trained).bytes_up == round_cost(both).bytes_up == 10 * 400_000
    assert round_cost(trained).calls > 30 * round_cost(both).calls
    assert round_cost(trained).phase_s > 0.95 * round_cost(trained).seconds


def test_a_slow_network_decides():
    cost = round_cost(federation(model_bytes=1e9, arrays=10, network_bytes_s=1e6))
    assert cost.seconds == cost.network_s == pytest.approx(2 * 100 * 1e9 / 1e6)


def test_sites_work_side_by_side():
    whole, through = round_cost(federation(nodes=1000)), through_sites(federation(nodes=1000), 20)
    assert through.seconds < whole.seconds / 5
    assert through.bytes_up == 20 * 400_000
    assert through.calls > whole.calls
