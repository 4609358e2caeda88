"""Walk over models in blocks that stay in a core's cache, whatever the arrays' dtypes.

A rule for one block of coordinates takes rows (one 1-D array a client, all of one float dtype) and fills
`out`. It never stacks whole models, so what a round needs beyond its updates is the result and a few blocks.
"""

import mmap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from oneflower.aggregation.errors import AggregationError
from oneflower.aggregation.updates import Arrays, NDArray, Update, form_of

BLOCK = 32_768
"""Coordinates in a block: large enough to hide the cost of a NumPy call, small enough for the L2 cache."""

PIECE = 32 * BLOCK
"""Values after which the pages of a file are given back."""

SMALL = 4_096
"""Coordinates below which the calls for an array cost more than its values."""

Rows = Sequence[NDArray]
BlockRule = Callable[[Rows, NDArray], None]
RuleFactory = Callable[[int, np.dtype[Any]], BlockRule]
"""Makes the rule for blocks of at most this many coordinates of this dtype; the rule owns its scratch."""

Whole = Callable[[str, Rows, NDArray], Sequence[slice]]
"""The compiled form of a rule for a whole array of this name, of any dtype. Returns the blocks that it leaves
to the rule: all of them where it cannot help, none where it has filled `out` with finite numbers."""

Allocate = Callable[[str, NDArray], NDArray]
"""Makes the array of this name for the result, like that of a client; its values are yet to be set."""


@dataclass(frozen=True, slots=True)
class Combined:
    """What a rule made of the updates' arrays, and the names of those that were found to be finite."""

    model: dict[str, NDArray]
    finite: frozenset[str]


def new_array(name: str, like: NDArray) -> NDArray:  # noqa: ARG001
    """Return fresh memory of this shape and dtype."""
    return np.empty(like.shape, like.dtype)


def blocks(size: int, block: int = BLOCK) -> Iterator[slice]:
    """Yield the slices that cut `size` coordinates into blocks."""
    for start in range(0, size, block):
        yield slice(start, min(start + block, size))


class FileMap(mmap.mmap):
    """A file in the address space. Its pages can leave the process at any time: the file has them."""


def walk(flat: NDArray, block: int = BLOCK) -> Iterator[slice]:
    """Yield the slices of a 1-D array, at most `PIECE` long; passed parts of a `FileMap` leave memory."""
    mapped = _file_of(flat)
    for start in range(0, flat.size, PIECE):
        stop = min(start + PIECE, flat.size)
        for part in blocks(stop - start, block):
            yield slice(start + part.start, start + part.stop)
        if mapped is not None:
            _give_back(mapped, flat[start:stop])


def _file_of(array: NDArray) -> FileMap | None:
    owner: object = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    owner = owner.obj if isinstance(owner, memoryview) else owner
    return owner if isinstance(owner, FileMap) else None


def _give_back(mapped: FileMap, piece: NDArray) -> None:
    start = _address(piece) - _address(np.frombuffer(mapped, np.uint8))
    first = start - start % mmap.PAGESIZE
    mapped.madvise(mmap.MADV_DONTNEED, first, start + piece.nbytes - first)


def _address(array: NDArray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def combine(
    updates: Sequence[Update],
    make_rule: RuleFactory,
    allocate: Allocate,
    whole: Whole | None = None,
    *,
    joined: bool = False,
) -> Combined:
    """Apply a rule of coordinates to every array of updates of one form; shapes and dtypes are kept.

    float32 and float64 are computed as they are, float16 in float32 and rounded once, anything wider in
    float64. Integers and bools are computed in float64 as offsets from the least of the clients' values,
    so that equal counters stay equal however large they are, and rounded to the nearest (half to even).
    `joined` computes small arrays of one dtype as one, in fewer calls: for a rule, and a `whole`, to which
    neither the name nor the other coordinates of an array matter.

    Raises
    ------
    AggregationError
        A dtype is neither float, integer nor bool.
    """
    rules = _reused(make_rule)
    finite: set[str] = set()
    result = {name: allocate(name, array) for name, array in updates[0].arrays.items()}
    with np.errstate(over="ignore", invalid="ignore"):
        for names in _groups(result) if joined else ([name] for name in result):
            flat = [join(update.arrays, names) for update in updates]
            out = result[names[0]].reshape(-1) if len(names) == 1 else np.empty_like(flat[0])
            left = whole(names[0], flat, out) if whole else tuple(blocks(out.size))
            if left:
                _combine_blocks(flat, out, rules, left)
            elif out.size:
                finite.update(name for name in names if result[name].size)
            if len(names) > 1:
                _part(out, [result[name] for name in names])
    return Combined(result, frozenset(finite))


def _groups(model: Arrays) -> Iterator[list[str]]:
    """Yield the names of small arrays of one dtype together, as far as they fit into a block."""
    groups: dict[np.dtype[Any], list[str]] = {}
    sizes: dict[np.dtype[Any], int] = {}
    for name, array in model.items():
        if array.size > SMALL or not array.dtype.isnative:  # to be joined changes the order of bytes
            yield [name]
            continue
        group, size = groups.setdefault(array.dtype, []), sizes.get(array.dtype, 0) + array.size
        if size > BLOCK:
            yield group
            group, size = [], array.size
        group.append(name)
        groups[array.dtype], sizes[array.dtype] = group, size
    yield from groups.values()


def join(arrays: Arrays, names: Sequence[str]) -> NDArray:
    """Return one array as it lies there, or copies of several, one behind the other: of one dtype, 1-D."""
    flat = [arrays[name].reshape(-1) for name in names]
    return flat[0] if len(flat) == 1 else np.concatenate(flat)


def _part(flat: NDArray, arrays: Sequence[NDArray]) -> None:
    at = 0
    for array in arrays:
        array.reshape(-1)[...] = flat[at : at + array.size]
        at += array.size


def _reused(make_rule: RuleFactory) -> RuleFactory:
    """Keep the last rule: a model's arrays come in runs of one dtype, and many are shorter than a block."""
    last: dict[np.dtype[Any], BlockRule] = {}

    def rule_for(size: int, dtype: np.dtype[Any]) -> BlockRule:
        if dtype not in last:
            last.clear()
            last[dtype] = make_rule(size, dtype)
        return last[dtype]

    return rule_for


def require_one_form(model: Arrays, updates: Sequence[Update]) -> None:
    """Raise AggregationError unless all updates have the names, shapes and dtypes of the model."""
    form = form_of(model)
    for update in updates:
        if form_of(update.arrays) != form:
            raise AggregationError(
                f"the update of client {update.client} differs in array names, shapes or dtypes from the "
                "model that it was sent; expected one form: check updates before aggregating them"
            )


def _combine_blocks(rows: Rows, out: NDArray, rule_for: RuleFactory, parts: Sequence[slice]) -> None:
    apply = _applier(out.dtype, rule_for)
    for block in parts:
        apply([row[block] for row in rows], out[block])


def _applier(dtype: np.dtype[Any], rule_for: RuleFactory) -> BlockRule:
    if dtype in (np.float32, np.float64):
        return rule_for(BLOCK, dtype)
    if dtype.kind == "f":
        work = np.dtype(np.float32 if dtype.itemsize < 4 else np.float64)
        return _through(rule_for(BLOCK, work), work)
    if dtype.kind in "iub":
        return _through_offsets(rule_for(BLOCK, np.dtype(np.float64)))
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
