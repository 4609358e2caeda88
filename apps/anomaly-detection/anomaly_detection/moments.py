"""Federated standardisation: mean and variance of all rows, from sums of each node's rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oneflower.errors import AppError

Vector = NDArray[np.float64]

SMALLEST_NODE = 10
"""In rows. The sums of a single row reveal that row, so a node with fewer rows sends no sums."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Number of rows, mean (features,) and sum of squared deviations (features,) of a node's rows."""

    count: int
    mean: Vector
    squares: Vector

    @classmethod
    def of(cls, rows: NDArray[np.float32]) -> "Moments":
        """Sum up rows (N, features) in float64.

        Raises
        ------
        AppError
            There are so few rows that the sums would give them away.
        """
        if len(rows) < SMALLEST_NODE:
            raise AppError(
                f"this node has {len(rows)} rows to train on; expected at least {SMALLEST_NODE}, so that "
                f"their sums do not reveal single rows. Give this node more data or start fewer nodes"
            )
        wide = rows.astype(np.float64)
        mean = wide.mean(axis=0)
        return cls(count=len(rows), mean=mean, squares=np.square(wide - mean).sum(axis=0))

    def problem(self, num_features: int) -> str | None:
        """Return why these sums cannot be used; None if they can."""
        if self.count < SMALLEST_NODE:
            return f"sums over {self.count} rows; expected at least {SMALLEST_NODE}"
        if self.mean.shape != (num_features,) or self.squares.shape != (num_features,):
            return f"sums of shape {self.mean.shape} and {self.squares.shape}; expected ({num_features},)"
        if not (np.isfinite(self.mean).all() and np.isfinite(self.squares).all()):
            return "sums that are not finite"
        return "a negative sum of squares" if (self.squares < 0).any() else None


def pooled(moments: Sequence[Moments]) -> tuple[Vector, Vector]:
    """Return the exact mean and standard deviation of all nodes' rows together.

    Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances"
    (1979): no difference of two large sums is taken.
    """
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    for node in moments:
        total = count + node.count
        delta = node.mean - mean
        squares = squares + node.squares + np.square(delta) * (count * node.count / total)
        mean = mean + delta * (node.count / total)
        count = total
    return mean, np.sqrt(squares / count)


def median(moments: Sequence[Moments]) -> tuple[Vector, Vector]:
    """Return the coordinate-wise median of the nodes' means and standard deviations.

    For the robust strategies: one node with false sums changes it only slightly.
    """
    means = np.stack([node.mean for node in moments])
    deviations = np.stack([np.sqrt(node.squares / node.count) for node in moments])
    return np.median(means, axis=0), np.median(deviations, axis=0)
