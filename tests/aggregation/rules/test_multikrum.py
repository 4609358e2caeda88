"""MultiKrum."""

import numpy as np
import pytest

from oneflower.aggregation import AggregationError, spec_of

from ..conftest import RULES, random_updates, stacked, updates

multikrum = RULES["MultiKrum"]


def naive(values, malicious):
    values = values.astype(np.float64)
    distances = ((values[:, None] - values[None]) ** 2).sum(axis=2)
    count = len(values)
    scores = [np.sort(np.delete(row, i))[: count - malicious - 2].sum() for i, row in enumerate(distances)]
    return values[np.argsort(scores)[: count - malicious]].mean(axis=0)


@pytest.mark.parametrize(("count", "malicious"), [(5, 1), (7, 2), (11, 2), (11, 4), (20, 3)])
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_it_is_the_mean_of_the_best_of_the_paper(count, malicious, scale):
    given = random_updates(count, 40, seed=count, scale=scale)
    result = multikrum(given, num_malicious=malicious)
    np.testing.assert_allclose(
        result.model["w"], naive(stacked(given), malicious), rtol=1e-5, atol=1e-6 * scale
    )
    assert len(result.used) == count - malicious


def test_far_outliers_are_never_selected():
    honest = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    far = [np.full(8, 3e38, np.float32), np.full(8, -3e38, np.float32)]
    result = multikrum(updates(*honest, *far), num_malicious=2).model["w"]
    np.testing.assert_allclose(result, honest.mean(axis=0), rtol=1e-5, atol=1e-6)


def test_fewer_updates_than_the_bound_are_refused():
    assert [spec_of("MultiKrum").minimum_updates({"num_malicious": f}) for f in range(3)] == [3, 5, 7]
    with pytest.raises(AggregationError, match=r"given 6.*at least 7"):
        multikrum(random_updates(6, 2), num_malicious=2)
