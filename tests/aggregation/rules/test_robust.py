"""Robust: NNM before the trimmed mean."""

import numpy as np
import pytest

from oneflower.aggregation import AggregationError, spec_of

from ..conftest import RULES, random_updates, stacked, updates

robust = RULES["Robust"]


def naive(values, malicious):
    values = values.astype(np.float64)
    distances = ((values[:, None] - values[None]) ** 2).sum(axis=2)
    count = len(values)
    mixed = np.array([values[np.argsort(row)[: count - malicious]].mean(axis=0) for row in distances])
    return np.sort(mixed, axis=0)[malicious : count - malicious].mean(axis=0)


@pytest.mark.parametrize(("count", "malicious"), [(3, 1), (5, 1), (5, 2), (11, 2), (11, 5), (20, 3)])
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_it_is_the_trimmed_mean_of_mixed_updates(count, malicious, scale):
    given = random_updates(count, 40, seed=count, scale=scale)
    result = robust(given, num_malicious=malicious).model["w"]
    np.testing.assert_allclose(result, naive(stacked(given), malicious), rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.parametrize("malicious", [1, 2, 3])
def test_f_far_outliers_do_not_leave_the_honest_range(malicious):
    honest = np.random.default_rng(0).normal(size=(malicious + 1, 8)).astype(np.float32)
    far = [np.full(8, sign, np.float32) for sign in (3e38, -3e38, 1e22)[:malicious]]
    result = robust(updates(*honest, *far), num_malicious=malicious).model["w"]
    assert (result >= honest.min(axis=0) - 1e-5).all()
    assert (result <= honest.max(axis=0) + 1e-5).all()


def test_it_needs_an_honest_majority():
    assert [spec_of("Robust").minimum_updates({"num_malicious": f}) for f in range(3)] == [1, 3, 5]
    with pytest.raises(AggregationError, match=r"given 4.*at least 5"):
        robust(random_updates(4, 2), num_malicious=2)


def test_without_malicious_clients_it_is_the_mean_and_says_so():
    assert "plain mean" in spec_of("Robust").advice({"num_malicious": 0}, 5)
    given = random_updates(5, 10)
    np.testing.assert_allclose(
        robust(given, num_malicious=0).model["w"], stacked(given).mean(axis=0), rtol=1e-5, atol=1e-6
    )
