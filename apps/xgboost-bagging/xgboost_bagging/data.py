"""The rows: the user's own table, or NASA's shuttle sensors, and each client's share of them."""

import gzip
import importlib.util
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HELD_OUT = 0.2

Rows = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Values (N, features) and labels (N,), 0 or 1."""


def client_rows(run_config: Mapping[str, object], node_config: Mapping[str, object]) -> tuple[Rows, Rows]:
    """Return this client's (training, validation) rows: of its own table, or its share of a common one."""
    folder, shared = _place(run_config)
    rows, seed = load(folder, str(run_config["label-column"])), int(str(run_config.get("seed", 42)))
    if shared:
        kept, _ = split(len(rows[1]), seed)
        part, parts = (int(str(node_config[f"{name}"])) for name in ("partition-id", "num-partitions"))
        rows = _take(rows, kept[part::parts])
    training, validation = split(len(rows[1]), seed + 1)
    return _take(rows, training), _take(rows, validation)


def server_rows(run_config: Mapping[str, object]) -> Rows:
    """Return the rows that the server evaluates on; no client trains on them."""
    folder, shared = _place(run_config)
    rows = load(folder, str(run_config["label-column"]))
    return _take(rows, split(len(rows[1]), int(str(run_config.get("seed", 42))))[1]) if shared else rows


def split(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (kept, held out) row numbers in a random order that the seed fixes."""
    order = np.random.default_rng(seed).permutation(count)
    cut = count - round(count * HELD_OUT)
    return order[:cut], order[cut:]


@lru_cache(maxsize=2)
def load(folder: Path | None, label: str) -> Rows:
    """Read the one table of a folder, or the shuttle data without one, and check it.

    Raises
    ------
    ValueError
        It is not one table of finite numbers with labels 0 and 1.
    """
    path = shuttle() if folder is None else _only(folder)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            x, y = archive["x"], archive["y"]
    else:
        x, y = _read_csv(path, label)
    if x.ndim != 2 or y.shape != x.shape[:1] or not np.isin(y, (0, 1)).all() or not np.isfinite(x).all():
        raise ValueError(
            f"{path} holds values of shape {x.shape} and labels of shape {y.shape}; expected finite numbers "
            f"(rows, features), and one label 0 or 1 for each row"
        )
    return x.astype(np.float32), y.astype(np.int64)


def shuttle() -> Path:
    """Return the file of the shuttle data in the package river, which is not imported.

    Raises
    ------
    FileNotFoundError
        River is not installed.
    """
    spec = importlib.util.find_spec("river")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("no rows: mount a table at data-path, or pip install --no-deps river")
    return Path(spec.origin).parent / "datasets" / "shuttle.csv.gz"


def _place(run_config: Mapping[str, object]) -> tuple[Path | None, bool]:
    """Return the folder of the rows, and whether all clients see the same ones."""
    mounted = Path(str(run_config["data-path"]))
    if common := os.environ.get("ONEFLOWER_DATA"):
        return Path(common), True
    return (mounted, False) if mounted.is_dir() and any(mounted.iterdir()) else (None, True)


def _only(folder: Path) -> Path:
    found = [path for path in sorted(folder.glob("*")) if path.name.endswith((".csv", ".csv.gz", ".npz"))]
    if len(found) != 1:
        raise ValueError(f"{folder} holds {len(found)} tables; expected exactly one .csv, .csv.gz or .npz")
    return found[0]


def _read_csv(path: Path, label: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as stream:
        names = [name.strip().strip('"') for name in stream.readline().split(",")]
        table = np.loadtxt(stream, delimiter=",", ndmin=2)
    if label not in names:
        raise ValueError(f"{path} has no column {label}. Set label-column to the name of the labels")
    column = names.index(label)
    return np.delete(table, column, axis=1), table[:, column]


def _take(rows: Rows, numbers: NDArray[np.int64]) -> Rows:
    return rows[0][numbers], rows[1][numbers]
