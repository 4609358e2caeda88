"""Updates to aggregate, and what rules are under one law."""

from functools import partial

import numpy as np

from oneflower.aggregation import Update, bulyan, krum, trimmed_mean, weighted_mean

RULES = {
    "mean": weighted_mean,
    "trimmed": partial(trimmed_mean, beta=0.2),
    "krum": partial(krum, num_malicious=1),
    "bulyan": partial(bulyan, num_malicious=1),
}
FEWEST = 7  # enough for each of them


def update(arrays, client="c", num_examples=1.0, **metrics):
    named = arrays if isinstance(arrays, dict) else {"w": np.asarray(arrays)}
    return Update(client=client, arrays=named, num_examples=num_examples, metrics=metrics)


def updates(*models, weights=None):
    weights = weights or [10.0 + i for i in range(len(models))]
    return [
        update(model, client=f"c{i}", num_examples=weight)
        for i, (model, weight) in enumerate(zip(models, weights, strict=True))
    ]


def random_updates(count, shape, seed=0, dtype=np.float32, scale=1.0):
    rng = np.random.default_rng(seed)
    return updates(*[(scale * rng.standard_normal(shape)).astype(dtype) for _ in range(count)])


def stacked(given, name="w"):
    return np.stack([u.arrays[name] for u in given])


def same_bytes(left, right):
    return list(left) == list(right) and all(
        left[name].dtype == right[name].dtype
        and left[name].shape == right[name].shape
        and left[name].tobytes() == right[name].tobytes()
        for name in left
    )
