"""Distances between updates."""

import numpy as np
import pytest

from oneflower.aggregation import ordered
from oneflower.aggregation.distances import squared_distances
from oneflower.aggregation.points import Points
from oneflower.aggregation.rules.krum import krum

from .conftest import random_updates, stacked, updates


def naive_distances(values):
    flat = values.reshape(len(values), -1).astype(np.float64)
    return np.array([[((x - y) ** 2).sum() for y in flat] for x in flat])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.int64, np.bool_])
def test_distances_are_those_of_the_definition(dtype):
    given = random_updates(6, 50_000, dtype=dtype, scale=3.0)
    np.testing.assert_allclose(squared_distances(given), naive_distances(stacked(given)), rtol=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_an_attacker_is_not_chosen_where_float32_products_cancel(seed):
    """Weights around 1, clients 1e-4 apart: ||x||^2 + ||y||^2 - 2xy in float32 is noise, and Flower's Krum
    takes an attacker two times in these eight."""
    rng = np.random.default_rng(seed)
    base = 1 + 0.1 * rng.standard_normal(1_000_000).astype(np.float32)
    noise = [1e-4] * 8 + [3e-4] * 2
    given = updates(*[base + np.float32(s) * rng.standard_normal(base.size, dtype=np.float32) for s in noise])
    entering = ordered(given)
    assert entering[krum(Points(entering), 2)].client < 8
    distances = squared_distances(given)
    assert (distances >= 0).all()
    np.testing.assert_allclose(distances[0, 1], naive_distances(stacked(given[:2]))[0, 1], rtol=1e-5)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("offset", [1e3, 1e8, 1e19, 3e38])
def test_a_far_attacker_does_not_blur_the_distances_of_the_others(offset, first):
    """The differences are taken from the first update in order: the attacker makes sure that it is it."""
    honest = [np.asarray(u.arrays["w"]) for u in random_updates(6, 1000)]
    attack = np.full(1000, offset, np.float32)
    given = updates(*honest, attack, weights=[*range(10, 16), 1 if first else 99])
    among = squared_distances(given)[:6, :6]
    np.testing.assert_allclose(among, naive_distances(np.array(honest)), rtol=1e-5)
    entering = ordered(given)
    assert entering[krum(Points(entering), 1)].client != 6


@pytest.mark.parametrize("count", [3, 50, 63, 64, 65, 130])
def test_distances_are_exact_for_few_and_many_clients(count):
    given = random_updates(count, 333, seed=count)
    distances = squared_distances(given)
    np.testing.assert_allclose(distances, naive_distances(stacked(given)), rtol=1e-5)
    np.testing.assert_array_equal(distances, distances.T)


def test_clusters_at_two_scales_keep_their_distances():
    """Honest clients near one another, two attackers nearer still to each other and far away, one of them
    the first update in order."""
    rng = np.random.default_rng(0)
    near = [1 + 1e-3 * rng.standard_normal(500) for _ in range(6)]
    far = [1e9 + 1e-2 * rng.standard_normal(500) for _ in range(2)]
    given = updates(*far, *near)
    np.testing.assert_allclose(squared_distances(given), naive_distances(stacked(given)), rtol=1e-5)


def test_identical_updates_are_at_distance_zero():
    given = updates(*[np.ones(10, np.float32)] * 4, np.zeros(10, np.float32))
    distances = squared_distances(given)
    assert (distances[:4, :4] == 0).all()
    assert (distances[4, :4] == 10).all()


def test_distances_run_over_all_arrays_of_the_model():
    given = updates(*[{"a": np.full(2, i, np.float32), "b": np.array(2.0 * i)} for i in range(3)])
    assert squared_distances(given).tolist() == [[0, 6, 24], [6, 0, 6], [24, 6, 0]]


def test_batch_counters_do_not_outweigh_the_weights():
    """Clients with more data count more batches; that is no reason to take them for attackers."""
    given = updates(
        *[
            {"w": np.array([float(w)]), "bn.num_batches_tracked": np.array(n)}
            for w, n in ((0, 900), (1, 1), (9, 1))
        ]
    )
    assert squared_distances(given)[0].tolist() == [0, 1, 81]
