"""The model in JAX: a small network, whose parameters are the arrays."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedAvg
from my_stock_app.data import CLASSES, FEATURES, Rows

HIDDEN, BATCH = 16, 32

Parameters = list[jax.Array]


def new_strategy() -> FedAvg:
    """Return how the clients' arrays become the next global ones."""
    return FedAvg()


def initial_arrays() -> ArrayRecord:
    """Return the model before round 1."""
    rng = np.random.default_rng(1)
    sizes = [FEATURES, HIDDEN, CLASSES]
    arrays = []
    for before, after in pairwise(sizes):
        arrays += [rng.normal(0, before**-0.5, (before, after)), np.zeros(after)]
    return ArrayRecord([array.astype(np.float32) for array in arrays])


def logits(parameters: Parameters, values: jax.Array) -> jax.Array:
    """Return the scores (N, classes) of rows."""
    first, first_bias, second, second_bias = parameters
    return jax.nn.relu(values @ first + first_bias) @ second + second_bias


def loss_of(parameters: Parameters, values: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the mean cross-entropy."""
    logs = jax.nn.log_softmax(logits(parameters, values))
    return -logs[jnp.arange(len(labels)), labels].mean()


def step(parameters: Parameters, values: jax.Array, labels: jax.Array, lr: float) -> Parameters:
    """Return the parameters after a step of SGD."""
    gradients = jax.grad(loss_of)(parameters, values, labels)
    return [parameter - lr * gradient for parameter, gradient in zip(parameters, gradients, strict=True)]


compiled_step = jax.jit(step)


def fit(arrays: ArrayRecord, rows: Rows, *, lr: float, epochs: int) -> ArrayRecord:
    """Train on rows, starting from the arrays; return the new ones. NumPy's generator shuffles."""
    parameters = [jnp.asarray(array) for array in arrays.to_numpy_ndarrays()]
    for _ in range(epochs):
        order = np.random.permutation(len(rows[1]))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            some = order[start : start + BATCH]
            parameters = compiled_step(parameters, rows[0][some], rows[1][some], lr)
    return ArrayRecord([np.asarray(parameter) for parameter in parameters])


def score(arrays: ArrayRecord, rows: Rows) -> tuple[float, float]:
    """Return (loss, accuracy)."""
    parameters = [jnp.asarray(array) for array in arrays.to_numpy_ndarrays()]
    right = logits(parameters, rows[0]).argmax(1) == rows[1]
    return float(loss_of(parameters, rows[0], rows[1])), float(right.mean())
