"""Model, data, loss."""

import jax
import jax.numpy as jnp
import numpy as np


def init_params():
    """The key comes from NumPy, as in many scripts."""
    key = jax.random.key(np.random.randint(2**31))
    return {"w": 0.1 * jax.random.normal(key, (6,)), "b": jnp.zeros(())}


def load_data(partition_id):
    rng = np.random.default_rng(partition_id)
    x = rng.normal(size=(80, 6)).astype(np.float32)
    y = x @ np.linspace(-1, 1, 6, dtype=np.float32) + 0.3
    return x, y


def loss_fn(params, x, y):
    return jnp.mean((x @ params["w"] + params["b"] - y) ** 2)


gradient = jax.jit(jax.grad(loss_fn))


def train(params, x, y, lr):
    key = jax.random.key(np.random.randint(2**31))
    for index in jnp.split(jax.random.permutation(key, len(x)), 8):
        grads = gradient(params, x[index], y[index])
        params = jax.tree.map(lambda p, g: p - lr * g, params, grads)
    return params
