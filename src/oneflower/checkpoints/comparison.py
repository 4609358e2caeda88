"""The difference between two models, array by array."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oneflower.checkpoints.npz import Arrays


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayChange:
    """The absolute change of one array; None if one model lacks it or the shapes differ."""

    name: str
    largest: float | None
    mean: float | None
    note: str = ""


def compare(before: Arrays, after: Arrays) -> list[ArrayChange]:
    """Return the change of every array from one model to another, in the order of the first.

    Differences are computed in float64 (complex128 for complex numbers). A NaN in either array makes the
    change NaN.
    """
    changes = [_change(name, array, after.get(name)) for name, array in before.items()]
    added = [
        ArrayChange(name=name, largest=None, mean=None, note="only in the second")
        for name in after
        if name not in before
    ]
    return changes + added


def _change(name: str, before: NDArray[Any], after: NDArray[Any] | None) -> ArrayChange:
    if after is None:
        return ArrayChange(name=name, largest=None, mean=None, note="only in the first")
    if before.shape != after.shape:
        note = f"shape {list(before.shape)}, then {list(after.shape)}"
        return ArrayChange(name=name, largest=None, mean=None, note=note)
    if before.size == 0:
        return ArrayChange(name=name, largest=0.0, mean=0.0)
    wide = "complex128" if "c" in (before.dtype.kind, after.dtype.kind) else "float64"
    with np.errstate(invalid="ignore"):
        distance = np.abs(after.astype(wide) - before.astype(wide))
    note = "" if before.dtype == after.dtype else f"dtype {before.dtype}, then {after.dtype}"
    return ArrayChange(name=name, largest=float(distance.max()), mean=float(distance.mean()), note=note)
