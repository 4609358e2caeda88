"""Walk over models in blocks that stay in a core's cache, whatever the arrays' dtypes.

A rule for one block of coordinates takes rows (one 1-D array a client, all of one float dtype) and fills
`out`. It never stacks whole models, so what a round needs beyond its updates is the result and a few blocks.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from oneflower.aggregation.errors import AggregationError
from oneflower.aggregation.updates import NDArray, Update, form_of

BLOCK = 32_768
"""Coordinates in a block: large enough to hide the cost of a NumPy call, small enough for the L2 cache."""

Rows = Sequence[NDArray]
BlockRule = Callable[[Rows, NDArray], None]
RuleFactory = Callable[[int, np.dtype[Any]], BlockRule]
"""Makes the rule for blocks of at most this many coordinates of this dtype; the rule owns its scratch."""


def blocks(size: int, block: int = BLOCK) -> Iterator[slice]:
    """Yield the slices that cut `size` coordinates into blocks."""
    for start in range(0, size, block):
        yield slice(start, min(start + block, size))


def combine(updates: Sequence[Update], make_rule: RuleFactory) -> dict[str, NDArray]:
    """Apply a rule of coordinates to every array; shapes and dtypes are kept.

    float16 is computed in float32 and rounded once. Integers and bools are computed in float64 as offsets
    from the least of the clients' values, so that equal counters stay equal however large they are, and
    rounded to the nearest (half to even).

    Raises
    ------
    AggregationError
        The updates are not of one form, or a dtype is neither float, integer nor bool.
    """
    require_one_form(updates)
    rules: dict[tuple[int, np.dtype[Any]], BlockRule] = {}

    def rule_for(size: int, dtype: np.dtype[Any]) -> BlockRule:
        key = min(size, BLOCK), dtype
        if key not in rules:
            rules.clear()  # a model's arrays come in runs of one dtype: scratch of one rule is enough
            rules[key] = make_rule(*key)
        return rules[key]

    with np.errstate(over="ignore", invalid="ignore"):
        return {
            name: _combine_array([update.arrays[name] for update in updates], rule_for)
            for name in updates[0].arrays
        }


def require_one_form(updates: Sequence[Update]) -> None:
    """Raise AggregationError unless all updates have the same names, shapes and dtypes."""
    first = form_of(updates[0].arrays)
    for update in updates[1:]:
        if form_of(update.arrays) != first:
            raise AggregationError(
                f"the update of client {update.client} differs in array names, shapes or dtypes from that of "
                f"client {updates[0].client}; expected one form: check updates before aggregating them"
            )


def _combine_array(arrays: Rows, rule_for: RuleFactory) -> NDArray:
    out = np.empty(arrays[0].shape, arrays[0].dtype)
    flat_out, flat = out.reshape(-1), [array.reshape(-1) for array in arrays]
    apply = _applier(out.dtype, rule_for, out.size)
    for block in blocks(out.size):
        apply([row[block] for row in flat], flat_out[block])
    return out


def _applier(dtype: np.dtype[Any], rule_for: RuleFactory, size: int) -> BlockRule:
    if dtype.kind == "f" and dtype.itemsize > 2:
        return rule_for(size, dtype)
    if dtype.kind == "f":
        return _through(rule_for(size, np.dtype(np.float32)), np.dtype(np.float32))
    if dtype.kind in "iub":
        return _through_offsets(rule_for(size, np.dtype(np.float64)))
    raise AggregationError(f"no rule combines arrays of dtype {dtype}; expected float, integer or bool")


def _through(rule: BlockRule, work: np.dtype[Any]) -> BlockRule:
    def apply(rows: Rows, out: NDArray) -> None:
        wide = np.empty(out.shape, work)
        rule([row.astype(work) for row in rows], wide)
        out[...] = wide

    return apply


def _through_offsets(rule: BlockRule) -> BlockRule:
    def apply(rows: Rows, out: NDArray) -> None:
        unsigned = np.dtype(f"u{out.dtype.itemsize}")
        rows = [row.view(np.uint8) for row in rows] if out.dtype.kind == "b" else rows
        low = np.minimum.reduce(rows).view(unsigned)
        offsets = [(row.view(unsigned) - low).astype(np.float64) for row in rows]  # exact: wraps back below
        middle = np.empty(out.shape, np.float64)
        rule(offsets, middle)
        np.minimum(np.rint(middle), np.nextafter(2.0 ** (8 * out.dtype.itemsize), 0.0), out=middle)
        out[...] = (low + middle.astype(unsigned)).view(out.dtype)

    return apply
