"""The weighted mean."""

from dataclasses import replace

import numpy as np
import pytest

from oneflower.aggregation import mean, ordered
from oneflower.aggregation.mean import weighted_mean

from .conftest import random_updates, stacked, update, updates


def test_the_mean_is_weighted_by_examples():
    given = updates(np.array([0.0, 4.0]), np.array([1.0, 0.0]), weights=[1.0, 3.0])
    assert weighted_mean(ordered(given)).model["w"].tolist() == [0.75, 1.0]


@pytest.mark.parametrize("count", [1, 2, 5, 10, 50])
@pytest.mark.parametrize("size", [1, 1_000, 70_000])
def test_the_float32_mean_is_that_of_float64_to_a_few_roundings(count, size):
    given = random_updates(count, size)
    expected = np.average(stacked(given).astype(np.float64), axis=0, weights=[u.num_examples for u in given])
    np.testing.assert_allclose(weighted_mean(ordered(given)).model["w"], expected, rtol=0, atol=1e-6)


def test_one_update_is_its_own_mean_whatever_its_weight():
    only = update(np.array([1.5, -2.0], np.float32), num_examples=7.0)
    np.testing.assert_array_equal(weighted_mean(ordered([only])).model["w"], [1.5, -2.0])


@pytest.mark.parametrize("compiled", [True, False], ids=["kernel", "NumPy"])
@pytest.mark.parametrize("huge", [False, True], ids=["ordinary", "a sum that overflows"])
def test_small_arrays_that_are_computed_together_have_the_bytes_of_each_by_itself(
    compiled, huge, monkeypatch
):
    if not compiled:
        monkeypatch.setattr(mean, "kernel", lambda: None)
    rng = np.random.default_rng(5)
    sizes, dtypes = (
        [0, 1, 7, 129, 4_096, 4_097, 40_000, 3, 3_000],
        ["f4", "f8", "f2", "i8", "?", "u1", ">f4", ">i4"],
    )

    def model():
        values = [rng.normal(scale=3, size=size) for size in sizes * 20]
        made = {f"a{i}": each.astype(dtypes[i % len(dtypes)]) for i, each in enumerate(values)}
        if huge:
            made["a8"][:1] = np.finfo("f4").max
        return {**made, "scalar": np.array(rng.normal())}

    given = ordered([update(model(), client=i, num_examples=3.0 + i) for i in range(3)])
    together = weighted_mean(given)
    for name in given[0].arrays:
        alone = weighted_mean(ordered([replace(each, arrays={name: each.arrays[name]}) for each in given]))
        assert together.model[name].shape == alone.model[name].shape
        assert together.model[name].tobytes() == alone.model[name].tobytes()
        assert alone.finite or name not in together.finite
