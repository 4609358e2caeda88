"""FedAvgM."""

import numpy as np
import pytest

from oneflower.aggregation import Round, ordered, spec_of

from ..conftest import update

FEDAVGM = spec_of("FedAvgM")


def model(seed, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return {"w": rng.standard_normal((40, 1000)).astype(dtype)}


def run(current, means, **values):
    state = FEDAVGM.init(current)
    for number, mean in enumerate(means, start=1):
        sent = ordered([update(mean)])
        result = FEDAVGM.aggregate(sent, current, state, FEDAVGM.values(**values), Round(number=number))
        current, state = result.model, result.state
    return current["w"]


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize(("lr", "beta"), [(1.0, 0.9), (0.1, 0.9), (0.5, 0.0), (1.0, 1.0)])
def test_rounds_are_those_of_the_paper(dtype, tolerance, lr, beta):
    start, means = model(0, dtype), [model(i, dtype) for i in range(1, 6)]
    x = start["w"].astype(np.float64)
    v = np.zeros_like(x)
    for mean in means:
        v = beta * v + (mean["w"] - x)
        x = x + lr * v
    result = run(start, means, server_lr=lr, server_momentum=beta)
    np.testing.assert_allclose(result, x, rtol=0, atol=tolerance)


def test_without_momentum_and_with_a_learning_rate_of_one_it_is_fedavg():
    start, means = model(0), [model(1)]
    result = run(start, means, server_lr=1.0, server_momentum=0.0)
    np.testing.assert_allclose(result, means[0]["w"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("lr", "beta", "said"),
    [(1.0, 0.0, "FedAvg"), (0.1, 1.0, "never fade"), (1.0, 0.9, None), (0.5, 0.0, None)],
)
def test_what_has_no_effect_or_never_fades_is_said(lr, beta, said):
    text = FEDAVGM.advice({"server_lr": lr, "server_momentum": beta}, 3)
    assert text is None if said is None else said in text
