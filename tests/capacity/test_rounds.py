"""What a round costs, by its calls."""

import pytest

from oneflower.capacity import Federation, open_files, round_cost, superlink_memory_mb, through_sites
from oneflower.capacity.rounds import calls_a_node


def federation(**values):
    return Federation(**{"nodes": 100, "model_bytes": 400_000, **values})


def test_calls_are_those_of_the_fleet_api():
    """Question, receipt and reply; message and records; two objects for each of four arrays."""
    train = 3 + (5 + 8) + (3 + 1 + 8)
    evaluate = 3 + (5 + 8) + 3
    assert calls_a_node(federation()) == train + evaluate


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


def test_twice_the_nodes_cost_twice_as_much():
    one, two = round_cost(federation()), round_cost(federation(nodes=200))
    assert two.calls == 2 * one.calls
    assert two.seconds == pytest.approx(2 * one.seconds)


def test_a_round_costs_what_its_clients_do():
    all_nodes, drawn = federation(nodes=10_000), federation(nodes=10_000, sampled=100)
    assert round_cost(drawn) == round_cost(federation(nodes=100))
    assert superlink_memory_mb(drawn) == superlink_memory_mb(all_nodes)
    assert open_files(drawn) > 10_000
    assert federation(nodes=5, sampled=100).at_work == 5


def test_a_slow_network_decides():
    cost = round_cost(federation(model_bytes=1e9, arrays=10, network_bytes_s=1e6))
    assert cost.seconds == cost.network_s == pytest.approx(2 * 100 * 1e9 / 1e6)


def test_sites_work_side_by_side():
    whole, through = round_cost(federation(nodes=1000)), through_sites(federation(nodes=1000), 20)
    assert through.seconds < whole.seconds / 5
    assert through.bytes_up == 20 * 400_000
    assert through.calls > whole.calls
