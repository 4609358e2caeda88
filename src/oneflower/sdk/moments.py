"""Federated standardisation: mean and variance of all rows, from sums of each node's rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oneflower.errors import AppError

Vector = NDArray[np.float64]

SMALLEST_NODE = 10
"""In rows. The sums of a single row reveal that row, so a node with fewer rows sends no sums."""
FARTHEST, WIDEST, LARGEST = 20.0, 100.0, 20.0
"""How far a node's means, deviations and number of rows may be from the medians of all nodes, in multiples.

Of 3 to 20 honest nodes with the shuttle data, evenly and very unevenly split, they were at most 9, 57
and 9.
"""
MAJORITY = 3
"""With fewer nodes no majority shows who is far off."""


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
    (1979): no difference of two large sums is taken. Absurd sums are bounded before (`bounded`).
    """
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    for node in bounded(moments):
        total = count + node.count
        delta = node.mean - mean
        squares = squares + node.squares + np.square(delta) * (count * node.count / total)
        mean = mean + delta * (node.count / total)
        count = total
    return mean, np.sqrt(squares / count)


def bounded(moments: Sequence[Moments]) -> list[Moments]:
    """Return the same sums, with those that are absurd brought to the bound; the others are as they were.

    A node with false sums would otherwise choose the mean and the scale of all. The unit of a column is the
    median deviation of the nodes, or the median distance of their means where that is larger; where more than
    half of the nodes have one constant, it is 0, and the constant is everybody's.
    """
    if len(moments) < MAJORITY:
        return list(moments)
    means = np.stack([node.mean for node in moments])
    deviations = np.stack([np.sqrt(node.squares / node.count) for node in moments])
    center = np.median(means, axis=0)
    unit = np.maximum(np.median(deviations, axis=0), np.median(np.abs(means - center), axis=0))
    most = int(LARGEST * np.median([node.count for node in moments]))
    found = []
    for node, mean, deviation in zip(moments, means, deviations, strict=True):
        count = min(node.count, most)
        near = np.clip(mean, center - FARTHEST * unit, center + FARTHEST * unit)
        small = deviation <= WIDEST * unit
        if count < node.count or not small.all():
            squares = np.where(small, node.squares * (count / node.count), count * np.square(WIDEST * unit))
        else:
            squares = node.squares
        found.append(Moments(count=count, mean=near, squares=squares))
    return found


def median(moments: Sequence[Moments]) -> tuple[Vector, Vector]:
    """Return the coordinate-wise median of the nodes' means and standard deviations.

    For the robust strategies: one node with false sums changes it only slightly.
    """
    means = np.stack([node.mean for node in moments])
    deviations = np.stack([np.sqrt(node.squares / node.count) for node in moments])
    return np.median(means, axis=0), np.median(deviations, axis=0)
