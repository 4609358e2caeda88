"""The fixed order of updates."""

import numpy as np
import pytest

from oneflower.aggregation import ordered

from .conftest import random_updates, update


def test_order_does_not_depend_on_arrival_or_on_the_clients_names():
    given = random_updates(6, 5)
    renamed = [
        update(dict(u.arrays), client=900 + i, num_examples=u.num_examples)
        for i, u in enumerate(reversed(given))
    ]
    assert [u.num_examples for u in ordered(given)] == [u.num_examples for u in ordered(renamed)]


@pytest.mark.parametrize("position", [0, 5_000, 3_000_000])
def test_updates_of_equal_weight_are_told_apart_by_their_first_differing_value(position):
    base = np.zeros(3_000_001, np.float32)
    other = base.copy()
    other[position] = 1.0
    first, second = update(base), update(other)
    assert ordered([first, second]) == ordered([second, first])


def test_metrics_decide_before_arrays_are_read():
    low, high = update([1.0], loss=0.1), update([1.0], loss=0.2)
    assert ordered([high, low]) == (low, high)


def test_equal_updates_keep_their_number():
    twins = [update([1.0]), update([1.0])]
    assert set(ordered(twins)) == set(twins)


def test_order_is_defined_for_updates_of_different_forms():
    """Whoever combines them refuses them; sorting must not fail before that."""
    forms = [update([1.0]), update([1.0, 2.0]), update({"other": np.ones(1)}), update(np.ones((2, 2)))]
    assert ordered(forms) == ordered(forms[::-1])


def test_metrics_that_are_not_finite_or_lists_have_an_order():
    given = [update([1.0], loss=float("nan")), update([1.0], loss=[1.0, 2.0]), update([1.0], loss=3)]
    assert ordered(given) == ordered(given[::-1])
