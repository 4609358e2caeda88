"""FLTrust."""

import numpy as np
import pytest

from oneflower.aggregation import AggregationError, Round, ordered, spec_of

from ..conftest import random_updates, same_bytes, stacked, update, updates

SPEC = spec_of("FLTrust")


def aggregate(given, root, model):
    return SPEC.aggregate(ordered(given), model, {}, {}, Round(root=root))


def fltrust(given, root, model=None):
    return aggregate(given, root, model or {"w": np.zeros_like(given[0].arrays["w"])}).model["w"]


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


def test_without_any_trust_the_model_stays_and_no_update_has_entered_it():
    model = {"w": np.arange(4, dtype=np.float32), "n": np.array(3)}
    given = [update({"w": model["w"] - 1, "n": np.array(9)}, client=i) for i in range(3)]
    made = aggregate(given, {"w": model["w"] + 1, "n": np.array(4)}, model)
    assert same_bytes(made.model, model | {"n": np.array(4)})
    assert made.used == ()


@pytest.mark.parametrize("own", [0.0, 1e-200])
def test_a_server_that_changes_nothing_trusts_nobody(own):
    model = {"w": np.ones(4)}
    assert fltrust(updates(*[model["w"] + 1] * 3), {"w": model["w"] + own}, model).tolist() == [1.0] * 4


def test_only_the_metrics_of_trusted_clients_count():
    trusted, other = update(np.ones(4), client=1, loss=0.5), update(-np.ones(4), client=2, loss=99.0)
    assert aggregate([other, trusted], {"w": np.ones(4)}, {"w": np.zeros(4)}).used == (trusted,)


# --- arrays that are no weights -----------------------------------------------------------------------

BATCHNORM = {
    "w": np.zeros(4, np.float32),
    "bn.running_mean": np.zeros(2, np.float32),
    "bn.running_var": np.ones(2, np.float32),
    "bn.num_batches_tracked": np.array(10),
}
ROOT = {
    "w": np.full(4, 2.0, np.float32),
    "bn.running_mean": np.full(2, 3.0, np.float32),
    "bn.running_var": np.full(2, 5.0, np.float32),
    "bn.num_batches_tracked": np.array(15),
}


def client(number, w, mean=3.0, variance=5.0, batches=40):
    values = (w, mean, variance)
    floats = zip(list(BATCHNORM)[:3], values, strict=True)
    arrays = {name: np.full_like(BATCHNORM[name], value) for name, value in floats}
    return update({**arrays, "bn.num_batches_tracked": np.array(batches)}, client=number)


def test_statistics_win_nobody_trust():
    """A client that turns its weights around and sends the server's own statistics has no say."""
    made = aggregate([client(1, 1.0), client(2, -1.0), client(3, -1.0)], ROOT, BATCHNORM)
    assert [each.client for each in made.used] == [1]
    np.testing.assert_allclose(made.model["w"], 2.0, rtol=1e-6)


def test_a_variance_never_leaves_what_trusted_clients_and_the_model_have():
    """The factor of the weights would bring it to 1 + 2 (0.1 - 1), below 0."""
    given = [client(i, 1.0, mean=0.0, variance=0.1) for i in range(3)]
    made = aggregate(given, ROOT, BATCHNORM).model
    np.testing.assert_allclose(made["w"], 2.0, rtol=1e-6)
    np.testing.assert_allclose(made["bn.running_var"], 0.1, rtol=1e-6)


def test_statistics_move_no_further_than_the_servers():
    made = aggregate([client(1, 1.0, mean=1e30, variance=1e30)], ROOT, BATCHNORM).model
    change = np.concatenate([made["bn.running_mean"], made["bn.running_var"] - 1])
    assert np.linalg.norm(change) == pytest.approx(np.sqrt(2 * 9 + 2 * 16), rel=1e-6)


def test_integers_are_the_servers():
    made = aggregate([client(1, 1.0, batches=2**62)], ROOT, BATCHNORM).model
    assert made["bn.num_batches_tracked"] == 15


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
