"""GeometricMedian."""

import numpy as np
import pytest

from ..conftest import RULES, random_updates, stacked, updates

median = RULES["GeometricMedian"]


def naive(values):
    """Weiszfeld on whole vectors, from the mean, until it stands still."""
    values = values.astype(np.float64)
    point = values.mean(axis=0)
    for _ in range(5_000):
        weights = 1 / np.maximum(1e-12, np.linalg.norm(values - point, axis=1))
        point = weights @ values / weights.sum()
    return point


@pytest.mark.parametrize("count", [3, 5, 10, 20])
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_it_has_the_least_sum_of_distances(count, scale):
    given = random_updates(count, 40, seed=count, scale=scale)
    values = stacked(given).astype(np.float64)
    np.testing.assert_allclose(median(given).model["w"] / scale, naive(values / scale), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("far", [1e3, 1e10, 1e20, 3e38])
def test_a_minority_far_away_moves_it_no_further_than_the_honest_spread(far):
    honest = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    attack = [np.full(8, far, np.float32)] * 5
    result = median(updates(*honest, *attack)).model["w"].astype(np.float64)
    radius = np.linalg.norm(honest - honest.mean(axis=0), axis=1).max()
    assert np.linalg.norm(result - honest.mean(axis=0)) <= 2 * 6 / (6 - 5) * radius


def test_a_majority_that_agrees_decides():
    agreed = np.array([1.0, 2.0], np.float32)
    result = median(updates(agreed, agreed, agreed, agreed * 100, agreed * -100)).model["w"]
    np.testing.assert_array_equal(result, agreed)
