"""Networks sort and select."""

from itertools import product

import numpy as np
import pytest

from oneflower.aggregation.networks import Wires, selection_network, sorting_network


def rows_of(matrix):
    return [np.ascontiguousarray(column, dtype=np.float32) for column in np.asarray(matrix).T]


@pytest.mark.parametrize("count", range(1, 13))
def test_a_network_that_sorts_all_zeros_and_ones_sorts_everything(count):
    """The zero-one principle (Knuth vol. 3, 5.3.4, theorem Z): an exhaustive proof for each size."""
    rows = rows_of(list(product((0, 1), repeat=count)))
    ranked = Wires(count, rows[0].size, np.dtype(np.float32)).run(sorting_network(count), rows)
    np.testing.assert_array_equal(ranked, np.sort(rows, axis=0))


@pytest.mark.parametrize("count", range(2, 12))
def test_a_selection_network_keeps_the_middle_ranks(count):
    rows = rows_of(list(product((0, 1), repeat=count)))
    for cut in range(1, (count + 1) // 2):
        network = selection_network(count, cut, count - cut)
        wires = Wires(count, rows[0].size, np.dtype(np.float32)).run(network, rows)
        kept = np.sort(wires[cut : count - cut], axis=0)
        np.testing.assert_array_equal(kept, np.sort(rows, axis=0)[cut : count - cut])


@pytest.mark.parametrize("count", [20, 33, 50])
def test_large_networks_sort_and_select_random_values(count):
    rows = rows_of(np.random.default_rng(count).standard_normal((200, count)))
    expected = np.sort(rows, axis=0)
    wires = Wires(count, 200, np.dtype(np.float32))
    np.testing.assert_array_equal(wires.run(sorting_network(count), rows), expected)
    cut = count // 5
    kept = wires.run(selection_network(count, cut, count - cut), rows)[cut : count - cut]
    np.testing.assert_array_equal(np.sort(kept, axis=0), expected[cut : count - cut])


def test_selecting_costs_less_than_sorting():
    def calls(network):
        return sum(step.keep_low + step.keep_high for step in network)

    assert calls(selection_network(10, 2, 8)) < calls(sorting_network(10))


def test_the_clients_rows_are_never_written():
    rows = rows_of(np.random.default_rng(0).standard_normal((50, 7)))
    for row in rows:
        row.flags.writeable = False
    wires = Wires(7, 50, np.dtype(np.float32))
    for network in (sorting_network(7), selection_network(7, 2, 5)):
        wires.run(network, rows)


def test_nan_stays_at_its_own_coordinate():
    rows = rows_of(np.random.default_rng(0).standard_normal((50, 7)))
    rows[3][10] = np.nan
    ranked = np.array(Wires(7, 50, np.dtype(np.float32)).run(sorting_network(7), rows))
    assert np.isnan(ranked[:, 10]).any()
    assert np.isfinite(np.delete(ranked, 10, axis=1)).all()
