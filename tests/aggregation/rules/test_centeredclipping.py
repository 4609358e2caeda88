"""CenteredClipping."""

import numpy as np
import pytest

from ..conftest import RULES, random_updates, stacked, updates

clipping = RULES["CenteredClipping"]


def naive(values, model, radius):
    """The paper's formula in float64."""
    changes = values.astype(np.float64) - model
    lengths = np.linalg.norm(changes, axis=1)
    radius = radius or np.sort(lengths)[(len(lengths) - 1) // 2]
    return model + (changes * np.minimum(1, radius / lengths)[:, None]).mean(axis=0)


@pytest.mark.parametrize("count", [3, 4, 11])
@pytest.mark.parametrize("radius", [0.0, 0.5, 1e6])
def test_it_is_the_papers_formula(count, radius):
    given = random_updates(count, 50, seed=count)
    model = np.random.default_rng(99).normal(size=50).astype(np.float32)
    result = clipping(given, model={"w": model}, clipping_radius=radius).model["w"]
    np.testing.assert_allclose(result, naive(stacked(given), model, radius), rtol=1e-4, atol=1e-5)


def test_a_large_radius_gives_the_plain_mean():
    given = random_updates(5, 20)
    result = clipping(given, clipping_radius=1e9).model["w"]
    np.testing.assert_allclose(result, stacked(given).mean(axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("far", [1e3, 1e20, 3e38])
def test_a_minority_moves_the_model_by_its_share_of_the_median_length(far):
    honest = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    attack = [np.full(8, far, np.float32)] * 5
    result = clipping(updates(*honest, *attack)).model["w"].astype(np.float64)
    longest = np.linalg.norm(honest, axis=1).max()
    assert np.linalg.norm(result) <= longest * (1 + 1e-6)


def test_of_updates_that_change_nothing_the_model_stays():
    model = {"w": np.arange(4, dtype=np.float32)}
    result = clipping(updates(*[model["w"].copy()] * 3), model=model).model["w"]
    np.testing.assert_allclose(result, model["w"], rtol=1e-6)


def test_a_change_without_a_finite_length_has_no_share():
    honest = [np.ones(3), np.ones(3), np.ones(3)]
    result = clipping(updates(*honest, np.full(3, 1.5e308))).model["w"]
    np.testing.assert_allclose(result, np.full(3, 0.75))


def test_integers_get_their_median():
    counts = [np.array(count) for count in (10, 12, 11, 2**62, 2**62)]
    given = updates(*[{"w": np.ones(2), "n": count} for count in counts])
    assert clipping(given, model={"w": np.zeros(2), "n": np.array(0)}).model["n"] == 12
