"""The rows: the user's own table, or a data set of scikit-learn, checked against the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets

from oneflower.errors import AppError
from oneflower.sdk.client import RoundInfo
from oneflower.sdk.data_source import DataSource
from oneflower.sdk.options import option
from oneflower.sdk.tables import checked_features, only_table, read_table

# They are files in the package: nothing is fetched.
DATASETS = {
    "breast-cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
    "wine": datasets.load_wine,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The expected table: its features and classes, the label's column, and the data set if none is given."""

    num_features: int
    num_classes: int
    label: str
    dataset: str

    @classmethod
    def from_run_config(cls, run_config: Mapping[str, object]) -> "Columns":
        """Read `num-features`, `num-classes`, `label-column` and `dataset`."""
        return cls(
            num_features=option(run_config, "num-features", 30, at_least=1),
            num_classes=option(run_config, "num-classes", 2, at_least=2),
            label=option(run_config, "label-column", "label"),
            dataset=option(run_config, "dataset", "breast-cancer", choices=tuple(DATASETS)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Values float32 (N, features) and labels int64 (N,)."""

    values: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> "Rows":
        """Return some of the rows, in the order of `rows`."""
        return Rows(values=self.values[rows], labels=self.labels[rows])


def fits_dataset(columns: Columns) -> bool:
    """Whether the data set that is used without a table has these features and classes."""
    bunch = DATASETS[columns.dataset]()
    return (bunch.data.shape[1], len(bunch.target_names)) == (columns.num_features, columns.num_classes)


def held_out_rows(source: DataSource, columns: Columns, seed: int) -> Rows:
    """Return the rows that the server evaluates on."""
    rows = load_rows(source.folder, columns)
    return rows.take(source.held_out(len(rows), seed))


def root_rows(source: DataSource, columns: Columns, seed: int) -> Rows:
    """Return the rows that the server trains on, for a strategy that compares updates with its own."""
    rows = load_rows(source.folder, columns)
    return rows.take(source.root(len(rows), seed))


def client_rows(source: DataSource, columns: Columns, info: RoundInfo) -> tuple[Rows, Rows]:
    """Return this client's (training, validation) rows; the groups of a skewed split are the classes."""
    rows = load_rows(source.folder, columns)
    training, validation = source.local(rows.labels, info)
    return rows.take(training), rows.take(validation)


@lru_cache(maxsize=2)
def load_rows(folder: Path | None, columns: Columns) -> Rows:
    """Read the one table of a folder, or a data set of scikit-learn without one, and check that it fits.

    Raises
    ------
    AppError
        It cannot be read, or does not fit `columns`.
    """
    if folder is None:
        bunch = DATASETS[columns.dataset]()
        return _checked(bunch.data, bunch.target, columns, f"the data set {columns.dataset}")
    path = only_table(folder)
    values, labels = read_table(path, columns.label)
    if labels is None:
        raise AppError(
            f"{path} has no labels: expected a column {columns.label}, or y in a .npz. Add it, or set "
            f"label-column to its name"
        )
    return _checked(values, labels, columns, str(path))


def _checked(x: NDArray[np.generic], y: NDArray[np.generic], columns: Columns, name: str) -> Rows:
    values = checked_features(x, columns.num_features, name)
    if y.shape != x.shape[:1] or not np.isin(y, np.arange(columns.num_classes)).all():
        raise AppError(
            f"{name} holds labels other than the whole numbers from 0 to {columns.num_classes - 1}, or not "
            f"one per row. Set num-classes, or renumber the labels"
        )
    return Rows(values=values, labels=y.astype(np.int64))
