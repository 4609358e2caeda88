"""Tables of numbers: one CSV, Parquet or NumPy file in a folder, as features and labels."""

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oneflower.errors import AppError
from oneflower.sdk.decoded import cached_arrays

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".npz")
FLOAT32_MAX = np.finfo(np.float32).max

Table = tuple[NDArray[np.generic], NDArray[np.generic] | None]
"""Features (N, F) and labels (N,), if there are any."""


def only_table(folder: Path) -> Path:
    """Return the one table of a folder.

    Raises
    ------
    AppError
        There is none, or more than one.
    """
    tables = [path for path in sorted(folder.glob("*")) if path.name.endswith(SUFFIXES)]
    if len(tables) != 1:
        raise AppError(
            f"{folder} holds {len(tables)} tables; expected exactly one file that ends in "
            f"{', '.join(SUFFIXES)}. Fix the mounted folder"
        )
    return tables[0]


def read_table(path: Path, label: str) -> Table:
    """Read a table; the column `label`, or y of a .npz, holds the labels. CSV and Parquet are decoded once.

    Raises
    ------
    AppError
        It cannot be read, or is not of numbers.
    """
    try:
        if path.suffix == ".npz":
            return _read_npz(path)
        columns = cached_arrays(_decode, path, label)
        return columns["x"], columns.get("y")
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise AppError(
            f"{path} cannot be read: {error}. Expected numbers only: a comma-separated .csv with a header "
            f"line, a .parquet, or a .npz with x and, if there are labels, y"
        ) from error


def checked_features(x: NDArray[np.generic], num_features: int, name: str) -> NDArray[np.float32]:
    """Return features as float32 (N, num_features).

    Raises
    ------
    AppError
        There are no rows, another number of columns, or values that are not finite numbers.
    """
    if x.ndim != 2 or x.shape[1] != num_features or not len(x):
        raise AppError(
            f"{name} holds values of shape {x.shape} without the label; expected at least one row of "
            f"{num_features} features. Set num-features and label-column"
        )
    if not np.issubdtype(x.dtype, np.number) or not (np.abs(x) <= FLOAT32_MAX).all():
        raise AppError(f"{name} holds values that are not finite numbers; expected none. Clean the data")
    return np.ascontiguousarray(x, dtype=np.float32)


def _decode(path: Path, label: str) -> dict[str, NDArray[np.generic]]:
    x, y = _read_parquet(path, label) if path.suffix == ".parquet" else _read_csv(path, label)
    return {"x": x} if y is None else {"x": x, "y": y}


def _read_csv(path: Path, label: str) -> Table:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as stream:
        names = [name.strip().strip('"') for name in stream.readline().split(",")]
        values = np.loadtxt(stream, delimiter=",", ndmin=2)
    if values.size and values.shape[1] != len(names):
        raise ValueError(f"{len(names)} names for {values.shape[1]} columns")
    return _without_label(names, list(values.T), label)


def _read_parquet(path: Path, label: str) -> Table:
    try:
        from pyarrow import parquet  # noqa: PLC0415  only Parquet needs it
    except ImportError as error:
        raise AppError(
            "a Parquet file needs the package pyarrow, which is not installed. Run pip install "
            "'oneflower[parquet]', or give the table as CSV"
        ) from error
    table = parquet.read_table(path)
    return _without_label(table.column_names, [column.to_numpy() for column in table.columns], label)


def _read_npz(path: Path) -> Table:
    with np.load(path, allow_pickle=False) as archive:
        return archive["x"], archive.get("y")


def _without_label(names: list[str], columns: list[NDArray[np.generic]], label: str) -> Table:
    features = [column for name, column in zip(names, columns, strict=True) if name != label]
    labels = columns[names.index(label)] if label in names else None
    return np.stack(features, axis=1) if features else np.empty((0, 0)), labels
