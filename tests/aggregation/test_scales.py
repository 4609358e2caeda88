"""The paper's choice at every scale that a dtype holds; `exact.py` has the paper's numbers as fractions."""

import numpy as np
import pytest

from oneflower.aggregation import distances
from oneflower.aggregation.distances import squared_distances
from oneflower.aggregation.rules.bulyan import iterated_krum

from .conftest import updates
from .exact import SCALES, exact_distances, random_rows, selection

ROUNDING = 1e-5
"""Two scores that differ by a smaller share are a tie of rounding."""


@pytest.mark.parametrize("spread", [0, 3, 40])
@pytest.mark.parametrize("dtype", SCALES)
def test_krum_and_bulyan_select_as_in_the_papers(dtype, spread):
    rng = np.random.default_rng(int(spread))
    for _ in range(40):
        count = int(rng.integers(5, 13))
        rows = random_rows(rng, dtype, count, size=int(rng.integers(1, 12)), spread=spread)
        ours, exact = squared_distances(updates(*rows)), exact_distances(rows)
        malicious, fewer = int(rng.integers(0, (count - 3) // 2 + 1)), (count - 3) // 4
        assert selection(ours, exact, malicious, 1).excess < ROUNDING
        bulyan = selection(ours, exact, fewer, count - 2 * fewer)
        assert bulyan.excess < ROUNDING
        assert sorted(bulyan.picks) == iterated_krum(ours, fewer, count - 2 * fewer)


@pytest.mark.parametrize("exponent", [-44, -30, -22, -18, 18, 19, 25, 37])
def test_float32_distances_are_right_at_both_ends(exponent):
    rows = random_rows(np.random.default_rng(7), np.float32, 6, 30, exponent)
    exact = np.array(exact_distances(rows), dtype=float)
    np.testing.assert_allclose(squared_distances(updates(*rows)), exact, rtol=1e-5)


@pytest.mark.parametrize("exponent", [-300, -250, -165, 155, 250, 307])
def test_float64_distances_beyond_float64_are_all_times_one_power_of_two(exponent):
    rows = random_rows(np.random.default_rng(7), np.float64, 6, 30, exponent)
    ours, exact = squared_distances(updates(*rows)), exact_distances(rows)
    assert np.isfinite(ours).all()
    ratios = [[float(exact[i][j] / exact[0][1]) for j in range(6)] for i in range(6)]
    np.testing.assert_allclose(ours / ours[0, 1], ratios, rtol=1e-12)


@pytest.mark.parametrize("scale", [2.0**-1000, 2.0**-600, 2.0**600, 2.0**1000])
def test_a_power_of_two_changes_no_distance_of_float64_but_by_a_power_of_two(scale):
    rng = np.random.default_rng(3)
    rows = [rng.uniform(-1, 1, 100) for _ in range(7)]
    ordinary = squared_distances(updates(*rows))
    extreme = squared_distances(updates(*(row * scale for row in rows)))
    mantissa, exponent = np.frexp(extreme / np.where(ordinary, ordinary, 1))
    assert set(mantissa[~np.eye(7, dtype=bool)]) == {0.5}
    assert len(set(exponent[~np.eye(7, dtype=bool)])) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("attack", [1e-30, 1e30])
def test_an_attacker_at_another_scale_changes_no_distance_of_the_others(dtype, attack):
    rng = np.random.default_rng(1)
    honest = [rng.standard_normal(500).astype(dtype) for _ in range(7)]
    alone = squared_distances(updates(*honest))
    evil = [(honest[i] * dtype(attack)).astype(dtype) for i in range(3)]
    np.testing.assert_allclose(squared_distances(updates(*honest, *evil))[:7, :7], alone, rtol=1e-6)


@pytest.mark.parametrize("attack", [1e-300, 1e300])
def test_a_minority_does_not_set_the_scale_of_float64_distances(attack):
    rng = np.random.default_rng(1)
    honest = [rng.standard_normal(50) for _ in range(7)]
    for evil in ([honest[0] + attack] * 3, [attack * rng.standard_normal(50) for _ in range(5)]):
        ours = squared_distances(updates(*honest, *evil))
        exact = np.array(exact_distances(honest), dtype=float)
        np.testing.assert_allclose(ours[:7, :7], exact, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_updates_that_are_equal_are_at_distance_zero_at_every_scale(dtype):
    for exponent in np.linspace(*SCALES[dtype], 9):
        one, other = random_rows(np.random.default_rng(2), dtype, 2, 40, exponent)
        ours = squared_distances(updates(one, one, other, other, one))
        assert (ours == 0).tolist() == [[(i in (2, 3)) == (j in (2, 3)) for j in range(5)] for i in range(5)]


def test_arrays_of_several_dtypes_add_up():
    rng = np.random.default_rng(0)
    rows = [
        {
            "a": (1e-30 * rng.standard_normal(9)).astype(np.float32),
            "b": 1e-25 * rng.standard_normal(4),
            "c": np.zeros(3, np.float16),
        }
        for _ in range(5)
    ]
    together = [np.concatenate([row["a"].astype(float), row["b"]]) for row in rows]
    exact = np.array(exact_distances(together), dtype=float)
    np.testing.assert_allclose(squared_distances(updates(*rows)), exact, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("exponent", range(-17, 18, 2))
def test_at_ordinary_scales_nothing_is_computed_twice(dtype, exponent, monkeypatch):
    """So that every bit is what it was before extreme scales were looked after."""
    monkeypatch.setattr(distances, "_over_all_scales", None)
    squared_distances(updates(*random_rows(np.random.default_rng(0), dtype, 12, 200, exponent)))
