"""A small classification: data, loss, training."""

import numpy as np


def load_data(partition_id, count=90):
    rng = np.random.default_rng([7, partition_id])
    y = rng.integers(0, 3, count)
    x = rng.normal(size=(count, 4)) + 1.5 * np.eye(4)[:3][y]
    return x, y


def probabilities(weights, x):
    logits = x @ weights[:-1] + weights[-1]
    exps = np.exp(logits - logits.max(1, keepdims=True))
    return exps / exps.sum(1, keepdims=True)


def test(weights, x, y):
    chosen = probabilities(weights, x)
    loss = float(-np.log(chosen[np.arange(len(y)), y] + 1e-9).mean())
    return loss, float((chosen.argmax(1) == y).mean())


def gradient(weights, x, y):
    error = probabilities(weights, x) - np.eye(3)[y]
    return np.vstack([x.T @ error, error.sum(0)]) / len(x)


def train(weights, x, y, lr=0.1):
    weights = weights.copy()
    for index in np.array_split(np.random.permutation(len(x)), 9):
        weights -= lr * gradient(weights, x[index], y[index])
    return weights
