"""How far each update moves the model, and the bound on it: finite is not plausible.

Sun et al. 2019, "Can You Really Backdoor Federated Learning?", section 4, bound the norm of a client's
change by a constant. Here the bound follows the round: a multiple of the median of the round's norms.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from itertools import accumulate, pairwise

import numpy as np

from oneflower.aggregation.blocks import BLOCK, SMALL, blocks, walk
from oneflower.aggregation.comparison import Remark, lower_median
from oneflower.aggregation.optimizers import is_trained
from oneflower.aggregation.updates import Arrays, NDArray, Ordered, Update
from oneflower.codes import LeftOutCode

Pair = tuple[NDArray, NDArray]
"""One array of the model and of an update, 1-D and of one size."""
LEAST_SQUARE = 2.0**-960
"""A sum of squares below it may have lost digits to underflow."""


class Kind(StrEnum):
    """What an array is. Each kind has a norm of its own: none hides in the size of another."""

    WEIGHTS = "weights"
    STATISTICS = "BatchNorm statistics"
    COUNTERS = "integers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounded:
    """The updates of a round after the bound, in the order that they had, and what was scaled down."""

    updates: Ordered
    remarks: tuple[Remark, ...] = ()


def bound_changes(
    updates: Ordered,
    model: Arrays,
    factor: float,
    counter_factor: float = 0.0,
    norm_of: Callable[[Update, Kind], float] | None = None,
) -> Bounded:
    """Scale down each change that is more than `factor` times as long as the median change of the round.

    The change is the update minus the model that was sent; its norm is taken over all weights, over all
    BatchNorm statistics, and over all integers, each by itself. A change above the bound gets the LENGTH OF
    THE MEDIAN and keeps its direction; integers become what was sent, and so does a change whose norm is not
    finite. Of an even number the lower of the two in the middle is the median. An update that changes
    nothing does not count for it. A factor of 0 is no bound; `counter_factor` is that of the integers.

    An update within the bound is returned as the same object: its bytes are those without the bound.
    `norm_of` returns norms that were taken before, else they are taken here.
    """
    factors = {Kind.WEIGHTS: factor, Kind.STATISTICS: factor, Kind.COUNTERS: counter_factor}
    bounded, remarks = list(updates), []
    for kind, names in kinds_of(model).items():
        if not factors[kind]:
            continue
        norms = [norm_of(each, kind) if norm_of else change_norm(each, model, names) for each in updates]
        median = lower_median(norm for norm in norms if norm > 0)
        for i, norm in enumerate(norms):
            if norm > factors[kind] * median or median < norm == math.inf:
                bounded[i] = _scaled(bounded[i], model, names, median / norm)
                remarks.append(_remark(bounded[i], kind, norm / median, factors[kind]))
    return Bounded(
        updates=Ordered(tuple(bounded)), remarks=tuple(sorted(remarks, key=lambda each: each.client))
    )


def change_norm(update: Update, model: Arrays, names: Iterable[str]) -> float:
    """Return the Euclidean norm of the update's change in these arrays; infinity where float64 overflows.

    Only float64 arrays have changes whose squares leave float64 while the norm does not: these are taken
    again as shares of the largest change.
    """
    pairs = [(model[name].reshape(-1), update.arrays[name].reshape(-1)) for name in names]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        square = _square(pairs, 1.0)
        if LEAST_SQUARE <= square < math.inf:
            return float(np.sqrt(square))
        largest = _largest_change(pairs)
        if largest == 0 or not math.isfinite(largest):
            return largest
        unit = 2.0 ** min(max(math.frexp(largest)[1], -1000), 1000)  # its inverse is a number, too
        return math.sqrt(_square(pairs, unit)) * unit


def _square(pairs: Sequence[Pair], unit: float) -> float:
    """Return the sum of the squares of all changes in this unit, a power of two.

    Small arrays are subtracted together, and each is summed by itself: the sum has the same bytes.
    """
    square, squares = 0.0, np.empty(BLOCK)
    for group in _runs(pairs):
        ends = list(accumulate(theirs.size for _, theirs in group))
        for part, (ours, theirs) in _parts(group, ends[-1]):
            change = squares[: part.stop - part.start]
            _subtract(theirs[part], ours[part], change)
            if unit != 1:
                np.multiply(change, 1 / unit, out=change)
            np.multiply(change, change, out=change)
            if len(group) == 1:
                square += float(np.add.reduce(change))
            else:
                for begin, end in pairwise([0, *ends]):
                    square += float(np.add.reduce(change[begin:end]))
    return square


def _runs(pairs: Sequence[Pair]) -> Iterator[list[Pair]]:
    """Yield neighbours of one dtype that are small and fit into a block, and others alone."""
    run: list[Pair] = []
    size = 0
    for pair in pairs:
        ours, theirs = pair
        alike = run and (ours.dtype, theirs.dtype) == (run[0][0].dtype, run[0][1].dtype)
        if run and not (alike and theirs.size <= SMALL and size + theirs.size <= BLOCK):
            yield run
            run, size = [], 0
        if theirs.size > SMALL:
            yield [pair]
            continue
        run.append(pair)
        size += theirs.size
    if run:
        yield run


def _parts(group: Sequence[Pair], size: int) -> Iterator[tuple[slice, Pair]]:
    """Yield the blocks of one large array, or several small ones as one block."""
    if len(group) == 1:
        yield from ((part, group[0]) for part in walk(group[0][1]))
    else:
        ours, theirs = (np.concatenate(side) for side in zip(*group, strict=True))
        yield slice(0, size), (ours, theirs)


def _largest_change(pairs: Sequence[tuple[NDArray, NDArray]]) -> float:
    largest, difference = 0.0, np.empty(BLOCK)
    for ours, theirs in pairs:
        for block in walk(theirs):
            part = difference[: block.stop - block.start]
            _subtract(theirs[block], ours[block], part)
            largest = max(largest, float(np.abs(part, out=part).max()))
    return largest


def kinds_of(model: Arrays) -> dict[Kind, list[str]]:
    """Return the names of a model's arrays by what they are."""
    kinds: dict[Kind, list[str]] = {kind: [] for kind in Kind}
    for name, array in model.items():
        if array.dtype.kind != "f":
            kinds[Kind.COUNTERS].append(name)
        else:
            kinds[Kind.WEIGHTS if is_trained(name, array) else Kind.STATISTICS].append(name)
    return kinds


def _subtract(left: NDArray, right: NDArray, out: NDArray) -> None:
    """Set out = left - right in float64: float16 and float32 cannot overflow, and bools can be subtracted."""
    np.copyto(out, left)
    np.subtract(out, right, out=out)


def _scaled(update: Update, model: Arrays, names: Sequence[str], scale: float) -> Update:
    make: Callable[[NDArray, NDArray], NDArray] = partial(_scaled_array, scale=scale)
    scaled = {name: make(update.arrays[name], model[name]) for name in names}
    return replace(update, arrays={name: scaled.get(name, array) for name, array in update.arrays.items()})


def _scaled_array(array: NDArray, sent: NDArray, *, scale: float) -> NDArray:
    """Return sent + scale * (array - sent); of integers, and with a scale of 0, what was sent."""
    if array.dtype.kind != "f" or scale == 0:
        return sent
    result = np.empty(array.shape, array.dtype)
    flat, ours, theirs = result.reshape(-1), sent.reshape(-1), array.reshape(-1)
    difference = np.empty(BLOCK)
    for block in blocks(flat.size):
        part = difference[: block.stop - block.start]
        _subtract(theirs[block], ours[block], part)
        np.multiply(part, scale, out=part)
        np.add(part, ours[block], out=part)
        flat[block] = part
    return result


def _remark(update: Update, kind: Kind, ratio: float, factor: float) -> Remark:
    done = "the change is not used" if kind is Kind.COUNTERS else "scaled down to the median"
    return Remark(
        client=update.client,
        code=LeftOutCode.CHANGE,
        reason=f"the change of its {kind} is {ratio:.3g} times as large as the median of the round; expected "
        f"at most {factor:g} times: {done}",
    )
