"""A client's update, and the one order in which every rule takes the updates of a round."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cmp_to_key
from typing import Any, NewType

import numpy as np
import numpy.typing as npt

NDArray = npt.NDArray[Any]
Arrays = Mapping[str, NDArray]
Form = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""Shape and dtype of each array, by name."""
Metric = float | Sequence[float]

WEIGHT = "num-examples"
"""The metric that says how many examples a client has trained or evaluated with."""

FIRST_CHUNK_BYTES = 4_096
LARGEST_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Update:
    """What one client sent back from a round of training.

    Two updates are the same only if they are the same object: comparing models is a rule's business.

    Attributes
    ----------
    client
        Flower's node id of the client, for logs; no rule looks at it.
    arrays
        The client's model by array name, each of any shape, of a float, integer or bool dtype.
    num_examples
        Weight in a weighted mean, a finite number above 0. Robust rules ignore it.
    metrics
        What the client sent beside its model, its num-examples included.
    """

    client: int
    arrays: Arrays
    num_examples: float = 1.0
    metrics: Mapping[str, Metric] = field(default_factory=dict)


Ordered = NewType("Ordered", tuple[Update, ...])
"""The updates of a round as `ordered` returns them: a rule takes nothing else."""


def form_of(arrays: Arrays) -> Form:
    """Return shape and dtype of every array by name."""
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def ordered(updates: Iterable[Update]) -> Ordered:
    """Return the updates in an order that depends on what they say and not on who sent them when.

    Flower's node ids are random at every registration and replies arrive in any order. Weight and
    metrics decide nearly always; where they are equal, the first differing byte of the arrays does.
    Updates that are equal in all of it may be swapped without changing any rule's result.
    """
    return Ordered(tuple(sorted(updates, key=cmp_to_key(_compare))))


def _compare(left: Update, right: Update) -> int:
    headers = _header(left), _header(right)
    if headers[0] != headers[1]:
        return -1 if headers[0] < headers[1] else 1
    for name in sorted(left.arrays):
        difference = _compare_bytes(_raw(left.arrays[name]), _raw(right.arrays[name]))
        if difference:
            return difference
    return 0


def _header(update: Update) -> tuple[str, list[str]]:
    return f"{update.num_examples!r} {sorted(update.metrics.items())!r}", sorted(update.arrays)


def _raw(array: NDArray) -> NDArray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _compare_bytes(left: NDArray, right: NDArray) -> int:
    start, chunk = 0, FIRST_CHUNK_BYTES
    while start < min(left.size, right.size):
        ours, theirs = left[start : start + chunk].tobytes(), right[start : start + chunk].tobytes()
        if ours != theirs:
            return -1 if ours < theirs else 1
        start, chunk = start + chunk, min(2 * chunk, LARGEST_CHUNK_BYTES)
    return int(left.size > right.size) - int(left.size < right.size)
