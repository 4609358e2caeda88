"""The rows: the user's own table, or NASA's shuttle sensors, checked against the model."""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oneflower.errors import AppError
from oneflower.sdk.client import RoundInfo
from oneflower.sdk.data_source import DataSource, package_file
from oneflower.sdk.options import option

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".npz")
REGIMES = 10
FLOAT32_MAX = np.finfo(np.float32).max

Table = tuple[NDArray[np.generic], NDArray[np.generic] | None]
"""Features (N, F) and labels (N,), if there are any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The expected table: number of features, and name of the label column."""

    num_features: int
    label: str

    @classmethod
    def from_run_config(cls, run_config: Mapping[str, object]) -> "Columns":
        """Read `num-features` and `label-column`."""
        return cls(
            num_features=option(run_config, "num-features", 9, at_least=1),
            label=option(run_config, "label-column", "anomaly"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Values float32 (N, features); labels int64 (N,), 1 for an anomaly, or None."""

    values: Tensor
    labels: NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: NDArray[np.int64]) -> "Rows":
        """Return some of the rows, in the order of `rows`."""
        labels = None if self.labels is None else self.labels[rows]
        return Rows(values=self.values[torch.from_numpy(rows)], labels=labels)

    def normal(self) -> "Rows":
        """Return the rows labelled normal, or all rows without labels."""
        return self if self.labels is None else self.take(np.flatnonzero(self.labels == 0))


def held_out_rows(source: DataSource, columns: Columns, seed: int) -> Rows:
    """Return the rows that the server evaluates on."""
    rows = load_rows(source.folder, columns)
    return rows.take(source.held_out(len(rows), seed))


def client_rows(source: DataSource, columns: Columns, info: RoundInfo) -> tuple[Rows, Rows]:
    """Return this client's (training, validation) rows, both without those labelled anomalous.

    The groups of a skewed split are the deciles of the first column: in the shuttle data, the time.
    """
    rows = load_rows(source.folder, columns)
    first = rows.values[:, 0].numpy()
    edges = np.quantile(first, np.linspace(0, 1, REGIMES + 1)[1:-1])
    training, validation = source.local(np.searchsorted(edges, first, side="right"), info)
    return rows.take(training).normal(), rows.take(validation).normal()


@lru_cache(maxsize=2)
def load_rows(folder: Path | None, columns: Columns) -> Rows:
    """Read the one table of a folder, or the shuttle data without one, and check that it fits.

    Raises
    ------
    AppError
        Nothing is there, or it cannot be read, or it does not fit `columns`.
    """
    path = _only_table(folder) if folder is not None else shuttle_file()
    if path is None:
        raise AppError(
            "no rows: data-path is empty and the package river, whose file holds the shuttle data, is not "
            "installed. Mount your table at data-path, or run pip install --no-deps river"
        )
    return _checked(_read(path, columns.label), columns, path)


def shuttle_file() -> Path | None:
    """Find NASA's shuttle data in the package river, if that is installed."""
    return package_file("river", "datasets/shuttle.csv.gz")


def _only_table(folder: Path) -> Path:
    tables = [path for path in sorted(folder.glob("*")) if path.name.endswith(SUFFIXES)]
    if len(tables) != 1:
        raise AppError(
            f"{folder} holds {len(tables)} tables; expected exactly one file that ends in "
            f"{', '.join(SUFFIXES)}. Fix the mounted folder"
        )
    return tables[0]


def _read(path: Path, label: str) -> Table:
    try:
        if path.suffix == ".npz":
            return _read_npz(path)
        return _read_parquet(path, label) if path.suffix == ".parquet" else _read_csv(path, label)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise AppError(
            f"{path} cannot be read: {error}. Expected numbers only: a comma-separated .csv with a header "
            f"line, a .parquet, or a .npz with x and, if there are labels, y"
        ) from error


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


def _checked(table: Table, columns: Columns, path: Path) -> Rows:
    x, y = table
    if x.ndim != 2 or x.shape[1] != columns.num_features or not len(x):
        raise AppError(
            f"{path} holds values of shape {x.shape} without the label; expected at least one row of "
            f"{columns.num_features} features. Set num-features and label-column"
        )
    if not np.issubdtype(x.dtype, np.number) or not (np.abs(x) <= FLOAT32_MAX).all():
        raise AppError(f"{path} holds values that are not finite numbers; expected none. Clean the data")
    if y is not None and (y.shape != x.shape[:1] or not np.isin(y, (0, 1)).all()):
        raise AppError(
            f"{path} holds labels other than 0 and 1, or not one per row; expected 0 for a normal row and 1 "
            f"for an anomaly. Renumber the column {columns.label}, or set label-column to another name"
        )
    return Rows(
        values=torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)),
        labels=None if y is None else y.astype(np.int64),
    )
