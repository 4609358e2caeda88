"""The server's Adam step, and what all server optimizers share with it."""

import numpy as np
import pytest

from oneflower.aggregation import AggregationError, Round, ordered, spec_of
from oneflower.aggregation.optimizers import BETA_1, BETA_2, TAU

from ..conftest import update, values_of

ADAM = spec_of("FedAdam")
LR = 0.1


def model(seed, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return {"w": rng.standard_normal((40, 1000)).astype(dtype), "b": rng.standard_normal(7).astype(dtype)}


def naive(current, means):
    """Reddi et al. 2021, algorithm 2, in float64, with Flower's bias correction."""
    x = {k: a.astype(np.float64) for k, a in current.items()}
    m = v = dict.fromkeys(x, 0.0)
    for t, mean in enumerate(means, start=1):
        delta = {k: mean[k] - x[k] for k in x}
        m = {k: BETA_1 * m[k] + (1 - BETA_1) * delta[k] for k in x}
        v = {k: BETA_2 * v[k] + (1 - BETA_2) * delta[k] ** 2 for k in x}
        lr = LR * np.sqrt(1 - BETA_2 ** (t + 1)) / (1 - BETA_1 ** (t + 1))
        x = {k: x[k] + lr * m[k] / (np.sqrt(v[k]) + TAU) for k in x}
    return x


def step(current, mean, state, number=1):
    values = values_of(ADAM, server_lr=LR)
    return ADAM.aggregate(ordered([update(mean)]), current, state, values, Round(number=number))


def run(current, means, state=None, first=1):
    state = state or ADAM.init(current)
    for t, mean in enumerate(means, start=first):
        aggregate = step(current, mean, state, t)
        current, state = aggregate.model, aggregate.state
    return current, state


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float32, 2e-6), (np.float64, 1e-12), (np.float16, 2e-2)]
)
def test_five_rounds_are_those_of_the_paper(dtype, tolerance):
    current, means = model(0, dtype), [model(i, dtype) for i in range(1, 6)]
    result, state = run(current, means)
    for name, expected in naive(current, means).items():
        assert result[name].dtype == state[f"m/{name}"].dtype == dtype
        np.testing.assert_allclose(result[name], expected, rtol=0, atol=tolerance)


def test_a_restored_state_goes_on_as_if_nothing_had_happened():
    """The bias correction depends on the true round: with round 1 again the result would differ."""
    current, means = model(0), [model(i) for i in range(1, 6)]
    whole, _ = run(current, means)
    half, state = run(current, means[:2])
    resumed, _ = run(half, means[2:], state, first=3)
    wrong, _ = run(half, means[2:], run(current, means[:2])[1], first=1)
    assert resumed["w"].tobytes() == whole["w"].tobytes()
    assert wrong["w"].tobytes() != whole["w"].tobytes()


def test_measured_statistics_and_counters_take_the_mean_as_it_is():
    """A step of Adam could make a variance negative, and the model's next output NaN."""
    current = {
        "w": np.ones(3, np.float32),
        "bn.running_mean": np.zeros(3, np.float32),
        "bn.running_var": np.ones(3, np.float32),
        "bn.num_batches_tracked": np.array(5),
    }
    mean = {name: np.array(array * 0 + 2).astype(array.dtype) for name, array in current.items()}
    state = ADAM.init(current)
    assert set(state) == {"m/w", "v/w"}
    result = step(current, mean, state).model
    for name in current:
        assert (result[name] == 2).all() == (name != "w")


def test_the_current_model_is_only_read():
    current = model(0)
    for array in current.values():
        array.flags.writeable = False
    run(current, [model(1)])


@pytest.mark.parametrize(
    "change",
    [lambda m: m | {"w": m["w"][:2]}, lambda m: {"w": m["w"]}, lambda m: m | {"b": m["b"].astype("f8")}],
)
def test_a_model_of_another_form_is_refused_before_anything_changes(change):
    current = model(0)
    state = ADAM.init(current)
    for mean, of_another in ((change(model(1)), state), (model(1), ADAM.init(change(current)))):
        with pytest.raises(AggregationError, match="one form"):
            step(current, mean, of_another)
        assert not any(array.any() for array in of_another.values())
