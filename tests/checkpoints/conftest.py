"""What every checkpoint test builds on: one way to make a checkpoint of a given round."""

import numpy as np
import pytest

from oneflower.checkpoints import Checkpoint


def make(number, *, size=8, state=True, fill=0.0, **changes):
    """Return a small checkpoint whose every number depends on its round and on `fill`."""
    rng = np.random.default_rng((number, int(fill * 1000)))
    arrays = {
        "conv.weight": rng.normal(size=(size, 3)).astype(np.float32),
        "bn.num_batches_tracked": np.array(number, dtype=np.int64),
        "fc.bias": rng.normal(size=size),
    }
    moments = {f"{kind}/fc.bias": rng.normal(size=size) for kind in "mv"} if state else {}
    fields = {
        "round": number,
        "total_rounds": 10,
        "arrays": arrays,
        "state": moments,
        "strategy": "FedAdam" if state else "FedAvg",
        "parameters": {"server-lr": 0.1} if state else {},
        "app": "image-classification",
        "seed": 42,
        "metrics": {"central": {str(n): {"accuracy": n / 100, "loss": 1 / n} for n in range(1, number + 1)}},
        "versions": {"flower": "1.25.0", "oneflower": "0.1.0"},
    }
    return Checkpoint(**(fields | changes))


def same(left, right):
    """Tell whether two checkpoints are equal to the last bit, order of arrays included."""
    if left is None or right is None:
        return left is right
    pairs = [(left.arrays, right.arrays), (left.state, right.state)]
    rest = [
        [getattr(c, name) for name in ("round", "total_rounds", "strategy", "app", "seed")]
        + [dict(c.parameters), dict(c.versions), repr(dict(c.metrics))]
        for c in (left, right)
    ]
    return rest[0] == rest[1] and all(
        list(a) == list(b)
        and all(
            a[n].dtype == b[n].dtype and a[n].shape == b[n].shape and a[n].tobytes() == b[n].tobytes()
            for n in a
        )
        for a, b in pairs
    )


@pytest.fixture(name="make")
def _make():
    return make


@pytest.fixture(name="same")
def _same():
    return same


@pytest.fixture
def root(tmp_path):
    return tmp_path / "checkpoints"
