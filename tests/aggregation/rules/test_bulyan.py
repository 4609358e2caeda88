"""Bulyan."""

import numpy as np
import pytest

from oneflower.aggregation import AggregationError, spec_of
from oneflower.aggregation.distances import krum_scores
from oneflower.aggregation.rules.bulyan import iterated_krum

from ..conftest import RULES, random_updates, stacked, updates
from ..test_distances import naive_distances


def bulyan(given, malicious):
    return RULES["Bulyan"](given, num_malicious=malicious)


def naive_bulyan(values, num_malicious):
    """El Mhamdi et al. 2018, word for word: select theta by Krum, then the beta nearest each median."""
    theta = len(values) - 2 * num_malicious
    beta = theta - 2 * num_malicious
    remaining, selected = list(range(len(values))), []
    while len(selected) < theta:
        distances = naive_distances(values[remaining])
        neighbours = max(1, len(remaining) - num_malicious - 2)
        scores = [np.sort(np.delete(row, i))[:neighbours].sum() for i, row in enumerate(distances)]
        selected.append(remaining.pop(int(np.argmin(scores))))
    ranked = np.sort(values[selected], axis=0)
    nearest = np.argsort(np.abs(ranked - np.median(ranked, axis=0)), axis=0, kind="stable")[:beta]
    return np.take_along_axis(ranked, nearest, axis=0).mean(axis=0), sorted(selected)


@pytest.mark.parametrize(
    ("count", "malicious"),
    [
        (3, 0),
        (8, 0),
        (7, 1),
        (8, 1),
        (10, 1),
        (11, 2),
        (12, 2),
        (15, 3),
        (30, 4),
        (47, 11),
        (50, 3),
        (50, 11),
    ],
)
def test_it_is_the_papers_definition(count, malicious):
    given = random_updates(count, 501, seed=count)
    expected, selected = naive_bulyan(stacked(given), malicious)
    result = bulyan(given, malicious)
    assert [u.client for u in result.used] == selected
    np.testing.assert_allclose(result.model["w"], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_it_is_the_papers_definition_in_other_dtypes(dtype):
    given = random_updates(11, 333, dtype=dtype)
    wide = np.float64 if dtype == np.float64 else np.float32
    expected, _ = naive_bulyan(stacked(given).astype(wide), 2)
    np.testing.assert_allclose(bulyan(given, 2).model["w"], expected, rtol=0, atol=4 * np.finfo(dtype).eps)


def test_a_model_longer_than_a_block_is_treated_alike_throughout():
    given = random_updates(7, 100_003)
    expected, _ = naive_bulyan(stacked(given), 1)
    np.testing.assert_allclose(bulyan(given, 1).model["w"], expected, rtol=0, atol=1e-6)


def test_of_two_values_equally_far_from_the_median_the_smaller_is_taken():
    """Four malicious of nineteen: of the eleven selected the three nearest the median are averaged."""
    given = updates(*[np.array([float(v)]) for v in range(-9, 10)])
    result = bulyan(given, 4)
    values = sorted(float(u.arrays["w"][0]) for u in result.used)
    expected, _ = naive_bulyan(stacked(given), 4)
    assert len(values) == 11
    np.testing.assert_allclose(result.model["w"], expected)


def test_without_malicious_clients_it_is_the_plain_mean():
    given = random_updates(5, 40)
    np.testing.assert_allclose(bulyan(given, 0).model["w"], stacked(given).mean(axis=0), atol=1e-6)


def test_krum_is_iterated_and_not_read_off_once():
    """Each pick leaves fewer candidates, whose neighbours are others: the five best at first are 2 to 6."""
    positions = np.array([0.0, 0.1, 5.0, 5.2, 5.5, 5.9, 6.0])
    distances = (positions[:, None] - positions[None, :]) ** 2
    assert sorted(np.argsort(krum_scores(distances, 1))[:5]) == [2, 3, 4, 5, 6]
    assert iterated_krum(distances, 1, 5) == [0, 2, 3, 4, 5]


def test_colluding_outliers_do_not_move_the_result():
    honest = [np.asarray(u.arrays["w"]) for u in random_updates(9, 200)]
    attack = np.full(200, 1e6, np.float32)
    result = bulyan(updates(*honest, attack, attack), 2).model["w"]
    assert np.abs(result).max() < 3


@pytest.mark.parametrize(("count", "malicious"), [(2, 0), (6, 1), (10, 2), (0, 0)])
def test_fewer_updates_than_the_bound_are_refused(count, malicious):
    with pytest.raises(AggregationError, match=rf"given {count}.*at least {4 * malicious + 3}"):
        bulyan(random_updates(count, 2), malicious)


def test_the_bound_is_that_of_the_paper():
    assert [spec_of("Bulyan").minimum_updates({"num_malicious": f}) for f in range(3)] == [3, 7, 11]
