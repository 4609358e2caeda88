"""FLTrust."""

import numpy as np
import pytest

from oneflower.aggregation import AggregationError, Round, ordered, spec_of

from ..conftest import random_updates, stacked, updates

SPEC = spec_of("FLTrust")


def fltrust(given, root, model=None):
    entering = ordered(given)
    model = {"w": np.zeros_like(entering[0].arrays["w"])} if model is None else model
    return SPEC.aggregate(entering, model, {}, {}, Round(root=root)).model["w"]


def naive(values, model, root):
    """The paper's equations 2 to 4 in float64."""
    changes, own = values.astype(np.float64) - model, root.astype(np.float64) - model
    lengths, length = np.linalg.norm(changes, axis=1), np.linalg.norm(own)
    trust = np.maximum(0, changes @ own / (lengths * length))
    return model + (trust[:, None] * changes * (length / lengths)[:, None]).sum(axis=0) / trust.sum()


@pytest.mark.parametrize("count", [1, 4, 11])
def test_it_is_the_papers_formula(count):
    given = random_updates(count, 60, seed=count)
    rng = np.random.default_rng(7)
    model, root = (rng.normal(size=60).astype(np.float32) for _ in range(2))
    result = fltrust(given, {"w": root}, {"w": model})
    np.testing.assert_allclose(result, naive(stacked(given), model, root), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("far", [-1.0, -1e3, -1e20, -3e38])
def test_a_majority_that_points_elsewhere_has_no_say(far):
    honest = [np.full(4, 1.0, np.float32), np.full(4, 2.0, np.float32)]
    attack = [np.full(4, far, np.float32)] * 5
    result = fltrust(updates(*honest, *attack), {"w": np.full(4, 1.5, np.float32)})
    np.testing.assert_allclose(result, np.full(4, 1.5), rtol=1e-6)


def test_nobody_moves_the_model_further_than_the_server_would():
    given = updates(*[np.full(4, 3e38, np.float32)] * 3)
    result = fltrust(given, {"w": np.full(4, 0.1, np.float32)})
    np.testing.assert_allclose(result, np.full(4, 0.1), rtol=1e-6)


def test_without_any_trust_the_model_stays():
    model = {"w": np.arange(4, dtype=np.float32)}
    result = fltrust(updates(*[model["w"] - 1] * 3), {"w": model["w"] + 1}, model)
    assert result.tobytes() == model["w"].tobytes()


@pytest.mark.parametrize(
    ("root", "said"),
    [
        (None, "was given none"),
        ({"v": np.ones(4, np.float32)}, "differs from the model"),
        ({"w": np.ones(5, np.float32)}, "differs from the model"),
        ({"w": np.full(4, np.nan, np.float32)}, "not finite"),
    ],
)
def test_an_update_of_the_apps_own_is_checked(root, said):
    with pytest.raises(AggregationError, match=said):
        fltrust(random_updates(3, 4), root)
