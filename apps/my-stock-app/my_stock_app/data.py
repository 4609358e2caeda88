"""The data: your own .npz, or two interleaved half circles."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FEATURES, CLASSES = 2, 2

Rows = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Values (N, features) and labels (N,)."""


def client_rows(run_config: Mapping[str, object], node_config: Mapping[str, object]) -> tuple[Rows, Rows]:
    """Return this client's (training, validation) rows: of its own file, or a share of the generated ones."""
    own = own_rows(run_config)
    values, labels = own or half_circles()
    mine = np.arange(len(labels))
    if own is None:  # The last fifth is the server's.
        part, parts = (int(str(node_config[name])) for name in ("partition-id", "num-partitions"))
        mine = mine[: len(mine) * 4 // 5][part::parts]
    validation = np.arange(len(mine)) % 5 == 0
    training, held_out = mine[~validation], mine[validation]
    return (values[training], labels[training]), (values[held_out], labels[held_out])


def server_rows(run_config: Mapping[str, object]) -> Rows:
    """Return the rows that the server evaluates on."""
    if own := own_rows(run_config):
        return own
    values, labels = half_circles()
    held_out = len(labels) * 4 // 5
    return values[held_out:], labels[held_out:]


def own_rows(run_config: Mapping[str, object]) -> Rows | None:
    """Return the rows of this machine, if it has any; replace it by code that reads your data."""
    path = Path(str(run_config["data-path"]), "rows.npz")
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as archive:
        return archive["x"].astype(np.float32), archive["y"].astype(np.int64)


def half_circles(count: int = 1200) -> Rows:
    """Draw points on two half circles with noise, the same on every machine."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(count) % CLASSES)
    angle = np.pi * (rng.random(count) + labels)
    values = np.stack([np.cos(angle) + labels, np.sin(angle) + 0.5 * labels], axis=1)
    return (values + 0.1 * rng.normal(size=values.shape)).astype(np.float32), labels
