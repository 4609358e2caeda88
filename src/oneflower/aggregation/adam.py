"""The server's Adam step."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from oneflower.aggregation.blocks import blocks
from oneflower.aggregation.errors import AggregationError
from oneflower.aggregation.updates import Arrays, NDArray, form_of

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Endings of BatchNorm's buffers. They are measured, not trained: they take the clients' mean as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamParameters:
    """Server learning rate, decay of the two moments, and tau, the step's degree of adaptivity."""

    server_lr: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.99
    tau: float = 1e-3

    def bias_corrected_lr(self, server_round: int) -> float:
        """Return eta * sqrt(1 - beta_2^(t+1)) / (1 - beta_1^(t+1)), t the training's true round."""
        exponent = server_round + 1.0
        correction: float = math.sqrt(1 - self.beta_2**exponent) / (1 - self.beta_1**exponent)
        return self.server_lr * correction


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamState:
    """First and second moments, one array of its own dtype and shape for each trained array."""

    m: Mapping[str, NDArray]
    v: Mapping[str, NDArray]


def is_trained(name: str, array: NDArray) -> bool:
    """Return whether Adam steps this array: a float array that is not one of BatchNorm's statistics."""
    return array.dtype.kind == "f" and not name.endswith(STATISTICS)


def initial_state(current: Arrays) -> AdamState:
    """Return zero moments for every trained array."""
    trained = [name for name, array in current.items() if is_trained(name, array)]
    return AdamState(
        m={name: np.zeros_like(current[name]) for name in trained},
        v={name: np.zeros_like(current[name]) for name in trained},
    )


def adam_step(
    current: Arrays, mean: Arrays, state: AdamState, parameters: AdamParameters, server_round: int
) -> Arrays:
    """Step from the current model along the clients' mean change; return the new model.

    Reddi et al. 2021, "Adaptive Federated Optimization", algorithm 2 with FedAdam's v, and with Flower's
    bias correction: delta = mean - x; m = b1 m + (1 - b1) delta; v = b2 v + (1 - b2) delta^2;
    x + lr m / (sqrt(v) + tau). Computed in the arrays' own dtype.

    The buffers of `mean` become the result and those of `state` the next state: no second copy of
    either is made. `current` is only read.

    Parameters
    ----------
    current, mean
        The model that the clients were sent, and the mean of what they sent back: same names and forms.
    state
        Moments after the round before, from `initial_state` or this function.
    server_round
        The training's true round, 1 for the first, also after a resume.

    Raises
    ------
    AggregationError
        The current model, the mean and the state are not of one form; nothing was changed.
    """
    _require_one_form(current, mean, state)
    lr = parameters.bias_corrected_lr(server_round)
    with np.errstate(over="ignore", invalid="ignore"):
        for name, m in state.m.items():
            _step_array(current[name], mean[name], (m, state.v[name]), parameters, lr)
    return mean


def _require_one_form(current: Arrays, mean: Arrays, state: AdamState) -> None:
    trained = {name: array for name, array in current.items() if is_trained(name, array)}
    if form_of(mean) != form_of(current) or any(form_of(m) != form_of(trained) for m in (state.m, state.v)):
        raise AggregationError(
            "the updates, the current model and Adam's moments differ in array names, shapes or dtypes; "
            "expected one form: check updates first, and resume only a checkpoint of the same model"
        )


def _step_array(
    current: NDArray, mean: NDArray, moments: tuple[NDArray, NDArray], parameters: AdamParameters, lr: float
) -> None:
    kind = mean.dtype.type
    flat = [array.reshape(-1) for array in (current, mean, *moments)]
    for block in blocks(mean.size):
        _step_block([array[block] for array in flat], parameters, kind, lr)


def _step_block(parts: list[NDArray], parameters: AdamParameters, kind: Any, lr: float) -> None:
    x, mean, m, v = parts
    delta = np.subtract(mean, x)
    np.multiply(m, kind(parameters.beta_1), out=m)
    np.add(m, np.multiply(delta, kind(1 - parameters.beta_1)), out=m)
    np.multiply(v, kind(parameters.beta_2), out=v)
    np.multiply(delta, delta, out=delta)
    np.multiply(delta, kind(1 - parameters.beta_2), out=delta)
    np.add(v, delta, out=v)
    np.sqrt(v, out=delta)
    np.add(delta, kind(parameters.tau), out=delta)
    np.divide(m, delta, out=delta)
    np.multiply(delta, kind(lr), out=delta)
    np.add(x, delta, out=mean)
