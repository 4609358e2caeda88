"""Whether the compiled kernel gives NumPy's bytes on this machine, tried on awkward values."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from oneflower.aggregation.blocks import Rows, Whole
from oneflower.aggregation.folding import fold, settle
from oneflower.aggregation.kernel import DEPTH, SUFFIXES, VECTOR_BYTES, Float64s, Kernel
from oneflower.aggregation.mean import mean_rule
from oneflower.aggregation.optimizers import Step
from oneflower.aggregation.rules.fedadagrad import adagrad
from oneflower.aggregation.rules.fedadam import adam
from oneflower.aggregation.rules.fedavgm import momentum
from oneflower.aggregation.rules.fedtrimmedavg import trimmed_rule, trimming
from oneflower.aggregation.rules.fedyogi import yogi
from oneflower.aggregation.updates import NDArray

SIZE = 45
"""Values in a row: some of the widest vectors, and a rest."""
COUNT = 12
"""Rows: more than the kernel adds at a time."""


def difference(kernel: Kernel) -> str:
    """Return which of the kernel's results differs from NumPy's by a bit, or an empty text."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        found = (what for dtype in SUFFIXES for what in _differing(kernel, dtype))
        return next(found, "") or next(_differing_sums(kernel), "")


def awkward_rows(count: int, size: int, dtype: np.dtype[Any]) -> list[NDArray]:
    """Return rows of ordinary, large, tiny, equal and zero values, always the same."""
    limits = np.finfo(dtype)
    odd = np.array(
        [limits.smallest_subnormal, limits.smallest_normal, limits.max / 4, 0.0, 1 / 3, 1e-7], dtype
    )
    index = np.arange(count * size, dtype=np.int64).reshape(count, size)
    rows = np.sin(index * 0.7).astype(dtype)
    chosen = index * 7 % 11
    for i, value in enumerate(odd):
        rows[chosen == i] = value
    return list(np.copysign(rows, np.cos(index * 1.3).astype(dtype)))


def _differing(kernel: Kernel, dtype: np.dtype[Any]) -> Iterator[str]:
    rows = awkward_rows(COUNT, SIZE, dtype)
    shares = [(i + 1) / 78 for i in range(COUNT)]
    mean, compiled = np.empty(SIZE, dtype), np.empty(SIZE, dtype)
    mean_rule(shares, SIZE, dtype)(rows, mean)
    if _left(kernel.mean(shares), rows, compiled) or not _same(mean, compiled):
        yield f"mean of {dtype}"
    if kernel.mean_and_tops(shares, rows, compiled, rows[0], rows[:1]) is None or not _same(mean, compiled):
        yield f"mean before a step of {dtype}"
    for cut in (1, 5):
        kept = range(cut, COUNT - cut)
        positive = [np.abs(row) for row in rows]  # zeros of two signs are left to NumPy
        trimmed_rule(COUNT, cut, SIZE, dtype)(positive, mean)
        left = _left(kernel.trimmed(COUNT, trimming(COUNT, cut), kept), positive, compiled)
        if left or not _same(mean, compiled):
            yield f"trimmed mean of {dtype}"
    for step in (adam(0.1), yogi(0.1), adagrad(0.1), momentum(0.1, 0.5)):
        if not _same_step(kernel, step, rows):
            yield f"step {step.formula.name} of {dtype}"
    for work in {dtype, np.dtype(np.float64)}:
        found = kernel.products(rows[:6], work)
        if found is None or not np.array_equal(found, products_in_order(rows[:6], work), equal_nan=True):
            yield f"inner products of {dtype} in {work}"
    if (
        kernel.finite(rows[0]) is not True
        or kernel.finite(np.append(rows[0], dtype.type(np.inf))) is not False
    ):
        yield f"finite check of {dtype}"


def products_in_order(rows: Rows, work: np.dtype[Any]) -> Float64s:
    """Return what `Kernel.products` returns, in the order of kernel_products.h."""
    lanes, (size,) = VECTOR_BYTES // work.itemsize, rows[0].shape
    differences = np.zeros((len(rows), -(-size // lanes) * lanes), work)
    for row, difference in zip(rows, differences, strict=True):
        np.subtract(row, rows[0], out=difference[:size], dtype=work)
    steps = differences.reshape(len(rows), -1, lanes).transpose(1, 0, 2)
    totals = np.zeros((len(rows), len(rows), lanes))
    for start in range(0, len(steps), DEPTH):
        sums = np.zeros(totals.shape, work)
        for step in steps[start : start + DEPTH]:
            sums += step[:, None] * step[None, :]
        totals += sums
    products: Float64s = np.add.accumulate(totals, axis=2)[:, :, -1]
    return products


def _differing_sums(kernel: Kernel) -> Iterator[str]:
    """Yield what differs in the streaming mean: rows up to 2^57 of the quantum, of either sign."""
    ours, theirs = np.zeros((2, SIZE), np.int64)
    for row in awkward_rows(COUNT, SIZE, np.dtype(np.float32)):
        largest = float(np.abs(row).max())
        factor = math.ldexp(0.9, 57 - math.frexp(largest)[1])
        fold(row, factor, ours)
        if not kernel.fold(row, factor, theirs) or ours.tobytes() != theirs.tobytes():
            yield "sum in fixed point"
        if kernel.largest(row) != largest:
            yield "largest value"
    mean, compiled = np.empty((2, SIZE), np.float32)
    settle([ours], [2.0**-50], 0.7, mean)
    if not kernel.settle(theirs, 2.0**-50, 0.7, compiled) or not _same(mean, compiled):
        yield "mean of sums in fixed point"


def _same_step(kernel: Kernel, step: Step, rows: Sequence[NDArray]) -> bool:
    count = step.formula.moments
    x, (delta, *moments) = rows[0], [np.tanh(row) for row in rows[1 : 2 + count]]
    moments = [np.abs(moment) for moment in moments]
    mean, stepped = x + delta, [moment.copy() for moment in moments]
    compiled = mean.copy()
    done = kernel.step(step.formula, step.constants, x, compiled, stepped)
    change = mean - x
    step.of_block(change, tuple(moments))
    return done and _same(x + change, compiled) and all(map(_same, moments, stepped))


def _left(whole: Whole, rows: Rows, out: NDArray) -> bool:
    """Return whether the kernel has left anything to NumPy."""
    out.fill(0)
    return bool(whole("", rows, out))


def _same(left: NDArray, right: NDArray) -> bool:
    return left.tobytes() == right.tobytes()
