"""FedYogi."""

import numpy as np
import pytest

from oneflower.aggregation import Round, ordered, spec_of
from oneflower.aggregation.optimizers import BETA_1, BETA_2, TAU

from ..conftest import update

YOGI = spec_of("FedYogi")
VALUES = YOGI.values(server_lr=0.1)


def model(seed, dtype=np.float32, scale=1.0):
    rng = np.random.default_rng(seed)
    return {"w": (scale * rng.standard_normal((40, 1000))).astype(dtype)}


def naive(current, means):
    """Reddi et al. 2021, algorithm 2, in float64."""
    x = current["w"].astype(np.float64)
    m, v = np.zeros_like(x), np.zeros_like(x)
    for mean in means:
        delta = mean["w"] - x
        m = BETA_1 * m + (1 - BETA_1) * delta
        v = v - (1 - BETA_2) * delta**2 * np.sign(v - delta**2)
        x = x + 0.1 * m / (np.sqrt(v) + TAU)
    return x


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_rounds_are_those_of_the_paper(dtype, tolerance):
    """The changes shrink on the way, so that v falls as well as rises."""
    current = start = model(0, dtype)
    means = [model(i, dtype, scale=1 / i**2) for i in range(1, 7)]
    state = YOGI.init(current)
    for number, mean in enumerate(means, start=1):
        result = YOGI.aggregate(ordered([update(mean)]), current, state, VALUES, Round(number=number))
        current, state = result.model, result.state
        assert (state["v/w"] >= 0).all()
    np.testing.assert_allclose(current["w"], naive(start, means), rtol=0, atol=tolerance)


def test_the_second_moment_forgets_a_large_change_slower_than_adams():
    """By a share of the small changes that follow it, where Adam's loses a share of itself."""
    zero = {"w": np.zeros(1)}
    state = {"m/w": np.zeros(1), "v/w": np.ones(1)}
    small = YOGI.aggregate(ordered([update({"w": np.full(1, 0.1)})]), zero, state, VALUES, Round())
    np.testing.assert_allclose(small.state["v/w"], 1 - (1 - BETA_2) * 0.01)
