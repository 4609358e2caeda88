"""What an update must look like before any rule sees it.

Each check returns the reason why the update is left out, or None. A reason says what was given and what
was expected; the caller adds the client's name.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from oneflower.aggregation.blocks import PIECE, walk
from oneflower.aggregation.compiled import kernel
from oneflower.aggregation.errors import AggregationError
from oneflower.aggregation.updates import Arrays, NDArray

LARGEST_NUM_EXAMPLES = 2**53
"""The largest count that a float64 holds exactly; the sum over any real federation stays finite."""
FEW = 4096
"""So few values take NumPy less time than the call of the kernel takes."""

VARIANCE = "running_var"
"""Ending of BatchNorm's variances: below 0 the next output is NaN, and so is what every client sends."""


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """The form of one array of the model."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


Schema = Mapping[str, ArraySpec]


def model_schema(arrays: Arrays) -> dict[str, ArraySpec]:
    """Return the form that every update of this model must have.

    Raises
    ------
    AggregationError
        The model has no arrays, or one that no rule can average (text, complex numbers, objects).
    """
    if not arrays:
        raise AggregationError("the model has no arrays; expected one at least: return the model's state")
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise AggregationError(
                f"array {name!r} of the model has dtype {array.dtype}; expected float, integer or bool: "
                "keep such an array out of the model that the server sends"
            )
    return {name: ArraySpec(array.shape, array.dtype) for name, array in arrays.items()}


def check_names(names: Mapping[str, object], schema: Schema) -> str | None:
    """Return which arrays are missing or unknown, or None."""
    if missing := [name for name in schema if name not in names]:
        return f"{_listed(missing)} missing; expected the model's {len(schema)} arrays"
    if unknown := [name for name in names if name not in schema]:
        return f"{_listed(unknown)} not in the model; expected its {len(schema)} arrays and no other"
    return None


def check_array(name: str, array: NDArray, spec: ArraySpec, *, is_known_finite: bool = False) -> str | None:
    """Return what is wrong with one array, or None; `is_known_finite` as `are_finite` found it."""
    if array.shape != spec.shape:
        return f"array {name!r} has shape {list(array.shape)}; expected {list(spec.shape)}"
    if array.dtype != spec.dtype:
        return f"array {name!r} has dtype {array.dtype}; expected {spec.dtype}"
    if not is_known_finite and not is_finite(array):
        return f"array {name!r} holds NaN or infinity; expected finite numbers"
    if name.endswith(VARIANCE) and array.dtype.kind == "f" and array.size and array.min() < 0:
        return f"array {name!r} holds a variance below 0; expected 0 or more"
    if array.dtype.kind == "b" and array.size and array.view(np.uint8).max() > 1:
        return f"array {name!r} holds bytes that are no bool; expected 0 and 1"
    return None


def are_finite(arrays: Arrays) -> frozenset[str]:
    """Return the names of small arrays if all values of all of them are finite, else none.

    A model of thousands of arrays is looked at in one call.
    """
    small = {name: array for name, array in arrays.items() if array.dtype.kind == "f" and array.size <= FEW}
    for dtype in {array.dtype for array in small.values()}:
        flat = np.concatenate([array.reshape(-1) for array in small.values() if array.dtype == dtype])
        if not np.isfinite(flat).all():
            return frozenset()
    return frozenset(small)


def is_finite(array: NDArray) -> bool:
    """Return whether every value is a finite number."""
    if array.dtype.kind != "f":
        return True
    if array.size <= FEW:
        return bool(np.isfinite(array).all())
    flat = array.reshape(-1)
    return all(_all_finite(flat[part]) for part in walk(flat, PIECE))


def _all_finite(values: NDArray) -> bool:
    compiled = kernel()
    found = compiled.finite(values) if compiled else None
    return bool(np.isfinite(values).all()) if found is None else found


def check_num_examples(value: object) -> str | None:
    """Return why this is no count of examples, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"num-examples is {_shown(value)}; expected a number above 0"
    if not (0 < value <= LARGEST_NUM_EXAMPLES):  # NaN compares false to everything
        return f"num-examples is {_shown(value)}; expected a finite number above 0, at most 2^53"
    return None


def _listed(names: Sequence[str]) -> str:
    noun, verb = ("array", "is") if len(names) == 1 else ("arrays", "are")
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{noun} {', '.join(map(repr, names[:3]))}{more} {verb}"


def _shown(value: object) -> str:
    if value is None:
        return "missing"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
