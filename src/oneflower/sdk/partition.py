"""Split one data set between clients so that every client can compute its own share alone."""

import numpy as np
from numpy.typing import NDArray

from oneflower.errors import AppError
from oneflower.flower.calls.seeds import derived_seed

Indices = NDArray[np.int64]

MAX_DRAWS = 200


def hold_out(count: int, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Split `count` rows into (kept, held out): disjoint, together all of them, fixed by the seed."""
    order = np.random.default_rng(derived_seed(seed, "hold-out")).permutation(count)
    cut = count - round(count * fraction)
    return np.sort(order[:cut]), np.sort(order[cut:])


def iid(count: int, num_partitions: int, partition_id: int, seed: int) -> Indices:
    """Give one of `num_partitions` equal random shares of `count` rows; sizes differ by one at most.

    Raises
    ------
    AppError
        There are fewer rows than partitions.
    """
    _check(count, num_partitions)
    order = np.random.default_rng(derived_seed(seed, "iid")).permutation(count)
    return np.sort(np.array_split(order, num_partitions)[partition_id]).astype(np.int64)


def dirichlet(
    labels: NDArray[np.int64], num_partitions: int, partition_id: int, *, alpha: float, seed: int
) -> Indices:
    """Give one share of a label-skewed split: each class is spread by a draw from Dirichlet(alpha).

    Small alpha, strong skew. A draw that leaves a partition with fewer than a tenth of an equal share is
    drawn again, as is usual since Li et al., "Federated Learning on Non-IID Data Silos" (2022).

    Raises
    ------
    AppError
        There are fewer rows than partitions, or no draw gave every partition its tenth.
    """
    _check(len(labels), num_partitions)
    rng = np.random.default_rng(derived_seed(seed, "dirichlet"))
    smallest = max(1, len(labels) // num_partitions // 10)
    for _ in range(MAX_DRAWS):
        owner = _draw_owners(labels, num_partitions, alpha, rng)
        if np.bincount(owner, minlength=num_partitions).min() >= smallest:
            return np.flatnonzero(owner == partition_id).astype(np.int64)
    raise AppError(
        f"dirichlet-alpha {alpha:g} over {num_partitions} partitions left one with fewer than {smallest} of "
        f"{len(labels)} rows in {MAX_DRAWS} draws; expected a share for each. Raise dirichlet-alpha"
    )


def by_group(groups: NDArray[np.int64], num_partitions: int, partition_id: int) -> Indices:
    """Give all rows of every group that falls to this partition; groups are dealt in turn, largest first.

    Raises
    ------
    AppError
        There are fewer groups than partitions.
    """
    names, sizes = np.unique(groups, return_counts=True)
    if len(names) < num_partitions:
        raise AppError(
            f"{len(names)} groups cannot be dealt to {num_partitions} partitions; expected one for each at "
            f"least. Start fewer nodes or set partitioning to iid"
        )
    dealt = names[np.argsort(-sizes, kind="stable")][partition_id::num_partitions]
    return np.flatnonzero(np.isin(groups, dealt)).astype(np.int64)


def _draw_owners(
    labels: NDArray[np.int64], num_partitions: int, alpha: float, rng: np.random.Generator
) -> Indices:
    owner = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(num_partitions, alpha))
        cuts = np.round(np.cumsum(shares)[:-1] * len(rows)).astype(np.int64)
        owner[rows] = np.searchsorted(cuts, np.arange(len(rows)), side="right")
    return owner


def _check(count: int, num_partitions: int) -> None:
    if count < num_partitions:
        raise AppError(
            f"{count} rows cannot be split into {num_partitions} partitions; expected one for each at least. "
            f"Give more data or start fewer nodes"
        )
