"""The rows: the user's own table, or NASA's shuttle sensors, checked against the model."""

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
from oneflower.sdk.tables import Table, checked_features, only_table, read_table

REGIMES = 10


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


def root_rows(source: DataSource, columns: Columns, seed: int) -> Rows:
    """Return the normal rows that the server trains on, for a strategy that compares updates with its own."""
    rows = load_rows(source.folder, columns)
    return rows.take(source.root(len(rows), seed)).normal()


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
    path = only_table(folder) if folder is not None else shuttle_file()
    if path is None:
        raise AppError(
            "no rows: data-path is empty and the package river, whose file holds the shuttle data, is not "
            "installed. Mount your table at data-path, or run pip install --no-deps river"
        )
    return _checked(read_table(path, columns.label), columns, path)


def shuttle_file() -> Path | None:
    """Find NASA's shuttle data in the package river, if that is installed."""
    return package_file("river", "datasets/shuttle.csv.gz")


def _checked(table: Table, columns: Columns, path: Path) -> Rows:
    x, y = table
    values = checked_features(x, columns.num_features, str(path))
    if y is not None and (y.shape != x.shape[:1] or not np.isin(y, (0, 1)).all()):
        raise AppError(
            f"{path} holds labels other than 0 and 1, or not one per row; expected 0 for a normal row and 1 "
            f"for an anomaly. Renumber the column {columns.label}, or set label-column to another name"
        )
    return Rows(values=torch.from_numpy(values), labels=None if y is None else y.astype(np.int64))
