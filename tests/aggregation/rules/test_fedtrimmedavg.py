"""The trimmed mean."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.aggregation import AggregationError
from oneflower.aggregation.rules.fedtrimmedavg import smallest_trimming

from ..conftest import RULES, random_updates, stacked, updates


def trimmed_mean(sent, beta):
    return RULES["FedTrimmedAvg"](sent, trim_beta=beta).model["w"]


def naive(values, beta):
    cut = int(beta * len(values))
    return np.sort(values.astype(np.float64), axis=0)[cut : len(values) - cut].mean(axis=0)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 10, 16, 31, 50])
@pytest.mark.parametrize("beta", [0.01, 0.1, 0.2, 0.34, 0.49])
def test_each_coordinate_loses_its_extremes(count, beta):
    sent = random_updates(count, 257, seed=count)
    result = trimmed_mean(sent, beta)
    np.testing.assert_allclose(result, naive(stacked(sent), beta), rtol=0, atol=1e-6)


def test_a_model_longer_than_a_block_is_trimmed_throughout():
    sent = random_updates(6, 100_003)
    np.testing.assert_allclose(trimmed_mean(sent, 0.2), naive(stacked(sent), 0.2), rtol=0, atol=1e-6)


def test_below_one_over_beta_clients_nothing_is_trimmed():
    sent = updates(*[np.array([float(i)]) for i in (0, 0, 0, 8)])
    assert trimmed_mean(sent, 0.2).tolist() == [2.0]


def test_values_that_overflow_when_summed_have_a_finite_mean():
    top = np.finfo(np.float32).max
    sent = updates(*[np.array([top], np.float32)] * 4)
    np.testing.assert_allclose(trimmed_mean(sent, 0.2), [top], rtol=1e-6)


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.0, -0.1, float("nan")])
def test_a_beta_that_leaves_nothing_is_refused(beta):
    with pytest.raises(AggregationError, match=r"trim_beta is .*FL_TRIM_BETA"):
        trimmed_mean(random_updates(4, 2), beta)


def test_no_update_is_an_error_that_says_so():
    with pytest.raises(AggregationError, match="given 0 valid updates"):
        trimmed_mean([], 0.2)


@given(st.floats(1e-6, 0.5, exclude_max=True))
def test_the_smallest_number_that_trims_is_the_smallest(beta):
    clients = smallest_trimming(beta)
    assert math.floor(beta * clients) >= 1
    assert math.floor(beta * (clients - 1)) == 0


def test_a_beta_that_never_trims_has_no_smallest_number():
    assert smallest_trimming(5e-324) is None
