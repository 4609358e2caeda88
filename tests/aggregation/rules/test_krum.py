"""Krum."""

import numpy as np
import pytest

from oneflower.aggregation import AggregationError, spec_of

from ..conftest import RULES, random_updates, stacked
from ..test_distances import naive_distances


def naive_krum(values, num_malicious):
    count = len(values)
    distances = naive_distances(values)
    scores = [
        np.sort(np.delete(row, i))[: count - num_malicious - 2].sum() for i, row in enumerate(distances)
    ]
    return values[int(np.argmin(scores))]


@pytest.mark.parametrize(
    ("count", "malicious"), [(3, 0), (5, 1), (7, 2), (10, 2), (10, 3), (23, 10), (50, 5)]
)
def test_the_update_nearest_to_its_neighbours_is_chosen(count, malicious):
    """With three clients the two nearest tie; the fixed order decides, here that of their weights."""
    given = random_updates(count, (20, 3), seed=count)
    np.testing.assert_array_equal(
        RULES["Krum"](given, num_malicious=malicious).model["w"], naive_krum(stacked(given), malicious)
    )


@pytest.mark.parametrize(("count", "malicious"), [(2, 0), (4, 1), (0, 0), (6, 2)])
def test_fewer_updates_than_the_bound_are_refused(count, malicious):
    with pytest.raises(AggregationError, match=rf"given {count}.*at least {2 * malicious + 3}"):
        RULES["Krum"](random_updates(count, 2), num_malicious=malicious)


def test_the_bound_is_that_of_the_paper():
    assert [spec_of("Krum").minimum_updates({"num_malicious": f}) for f in range(3)] == [3, 5, 7]
