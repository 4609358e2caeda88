"""FedAdagrad."""

import numpy as np
import pytest

from oneflower.aggregation import Round, ordered, spec_of
from oneflower.aggregation.optimizers import TAU

from ..conftest import update

ADAGRAD = spec_of("FedAdagrad")
VALUES = ADAGRAD.values(server_lr=0.1)


def model(seed, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return {"w": rng.standard_normal((40, 1000)).astype(dtype)}


def naive(current, means):
    """Reddi et al. 2021, algorithm 2 with b1 = 0, in float64."""
    x = current["w"].astype(np.float64)
    v = np.zeros_like(x)
    for mean in means:
        delta = mean["w"] - x
        v = v + delta**2
        x = x + 0.1 * delta / (np.sqrt(v) + TAU)
    return x


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-6), (np.float64, 1e-12)])
def test_rounds_are_those_of_the_paper(dtype, tolerance):
    current = start = model(0, dtype)
    means = [model(i, dtype) for i in range(1, 7)]
    state = ADAGRAD.init(current)
    for number, mean in enumerate(means, start=1):
        result = ADAGRAD.aggregate(ordered([update(mean)]), current, state, VALUES, Round(number=number))
        current, state = result.model, result.state
    np.testing.assert_allclose(current["w"], naive(start, means), rtol=0, atol=tolerance)


def test_steps_of_equal_changes_get_shorter():
    current = {"w": np.zeros(1)}
    state, steps = ADAGRAD.init(current), []
    for number in (1, 2, 3):
        sent = ordered([update({"w": current["w"] + 1})])
        result = ADAGRAD.aggregate(sent, current, state, VALUES, Round(number=number))
        steps.append((result.model["w"] - current["w"])[0])
        current, state = result.model, result.state
    np.testing.assert_allclose(steps, 0.1 / (np.sqrt([1, 2, 3]) + TAU))
