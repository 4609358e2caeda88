"""The trimmed mean."""

import numpy as np
import pytest

from oneflower.aggregation import AggregationError

from ..conftest import RULES, random_updates, stacked, updates


def trimmed_mean(given, beta):
    return RULES["FedTrimmedAvg"](given, trim_beta=beta).model["w"]


def naive(values, beta):
    cut = int(beta * len(values))
    return np.sort(values.astype(np.float64), axis=0)[cut : len(values) - cut].mean(axis=0)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 10, 16, 31, 50])
@pytest.mark.parametrize("beta", [0.01, 0.1, 0.2, 0.34, 0.49])
def test_each_coordinate_loses_its_extremes(count, beta):
    given = random_updates(count, 257, seed=count)
    result = trimmed_mean(given, beta)
    np.testing.assert_allclose(result, naive(stacked(given), beta), rtol=0, atol=1e-6)


def test_a_model_longer_than_a_block_is_trimmed_throughout():
    given = random_updates(6, 100_003)
    np.testing.assert_allclose(trimmed_mean(given, 0.2), naive(stacked(given), 0.2), rtol=0, atol=1e-6)


def test_below_one_over_beta_clients_nothing_is_trimmed():
    given = updates(*[np.array([float(i)]) for i in (0, 0, 0, 8)])
    assert trimmed_mean(given, 0.2).tolist() == [2.0]


def test_values_that_overflow_when_summed_have_a_finite_mean():
    top = np.finfo(np.float32).max
    given = updates(*[np.array([top], np.float32)] * 4)
    np.testing.assert_allclose(trimmed_mean(given, 0.2), [top], rtol=1e-6)


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.0, -0.1, float("nan")])
def test_a_beta_that_leaves_nothing_is_refused(beta):
    with pytest.raises(AggregationError, match=r"trim_beta is .*FL_TRIM_BETA"):
        trimmed_mean(random_updates(4, 2), beta)


def test_no_update_is_an_error_that_says_so():
    with pytest.raises(AggregationError, match="given 0 valid updates"):
        trimmed_mean([], 0.2)
