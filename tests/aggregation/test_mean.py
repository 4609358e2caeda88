"""The weighted mean."""

import numpy as np
import pytest

from oneflower.aggregation import ordered
from oneflower.aggregation.mean import weighted_mean

from .conftest import random_updates, stacked, update, updates


def test_the_mean_is_weighted_by_examples():
    given = updates(np.array([0.0, 4.0]), np.array([1.0, 0.0]), weights=[1.0, 3.0])
    assert weighted_mean(ordered(given)).model["w"].tolist() == [0.75, 1.0]


@pytest.mark.parametrize("count", [1, 2, 5, 10, 50])
@pytest.mark.parametrize("size", [1, 1_000, 70_000])
def test_the_float32_mean_is_that_of_float64_to_a_few_roundings(count, size):
    given = random_updates(count, size)
    expected = np.average(stacked(given).astype(np.float64), axis=0, weights=[u.num_examples for u in given])
    np.testing.assert_allclose(weighted_mean(ordered(given)).model["w"], expected, rtol=0, atol=1e-6)


def test_one_update_is_its_own_mean_whatever_its_weight():
    only = update(np.array([1.5, -2.0], np.float32), num_examples=7.0)
    np.testing.assert_array_equal(weighted_mean(ordered([only])).model["w"], [1.5, -2.0])
