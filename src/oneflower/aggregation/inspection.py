"""What the updates of a round show: how far each is from the new model, and how much it changes.

Nothing here decides anything: an operator looks at it. One pass over the updates, in blocks of float64; of
large models over a sample of blocks, so that a round does not wait for it.
"""

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oneflower.aggregation.blocks import blocks, join
from oneflower.aggregation.comparison import lower_median
from oneflower.aggregation.optimizers import is_trained
from oneflower.aggregation.spec import Aggregate, StrategySpec
from oneflower.aggregation.updates import Arrays, NDArray, Ordered

BLOCK = 8_192
"""Values in a block: a longer dot product takes BLAS's threads, and three blocks fit into the L2 cache."""
MOST_VALUES = 1 << 24
"""Values of all updates together that are measured in a round. Of larger models a sample is."""
LEAST = 256
"""Values of each array that a sample has at least, so that every layer is seen."""
Shares = Mapping[int, float | None]
"""By client of the updates that a rule used: its weight in the new model, None where it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """The updates of a round, each at its place in `clients`.

    Attributes
    ----------
    distances
        Euclidean distance from the update to the new model; infinite where float64 cannot hold it. Empty
        where the new model has not the form of the updates.
    changes
        The norm of the update minus the model that was sent, in medians of the round; infinite as above.
        Empty where the model that was sent has not the form of the updates.
    """

    clients: tuple[int, ...]
    distances: tuple[float, ...] = ()
    changes: tuple[float, ...] = ()


def inspect(updates: Ordered, sent: Arrays, new: Arrays) -> Inspected:
    """Measure the updates of a round against the model that was sent and the one that came of them.

    Measured are the weights: floats that are not statistics of BatchNorm. Those follow the data of a client,
    integers count its batches, and either would hide the weights.
    """
    clients = tuple(update.client for update in updates)
    names = [name for name, array in updates[0].arrays.items() if is_trained(name, array)] if updates else []
    models = {key: model for key, model in (("new", new), ("sent", sent)) if _fits(model, updates, names)}
    if not models:
        return Inspected(clients=clients)
    norms = dict(zip(models, _norms(updates, list(models.values()), names), strict=True))
    return Inspected(
        clients=clients,
        distances=norms.get("new", ()),
        changes=_in_medians(norms.get("sent", ())),
    )


def inspect_changes(updates: Ordered, norms: Mapping[int, float]) -> Inspected:
    """Return what norms that were taken as the updates came show; the updates are not read."""
    clients = tuple(update.client for update in updates)
    return Inspected(clients=clients, changes=_in_medians([norms[client] for client in clients]))


def shares(spec: StrategySpec, updates: Ordered, aggregate: Aggregate) -> dict[int, float | None]:
    """Return the weights of the updates that a rule used: its own, by their examples, or none.

    A rule that combines each coordinate by itself gives an update no weight. Where means stood in place of
    the updates, the weight of a mean is split evenly among its members.
    """
    if aggregate.shares is not None:
        found = zip(updates, aggregate.shares, strict=True)
        return {update.client: share for update, share in found if share}
    if spec.weights_by_examples:
        total = math.fsum(update.num_examples for update in aggregate.used)
        return {
            update.client: update.num_examples / total if 0 < total < math.inf else None
            for update in aggregate.used
        }
    return {update.client: None for update in aggregate.used}


def _fits(model: Arrays, updates: Ordered, names: Sequence[str]) -> bool:
    """Whether these arrays are there with the same shapes, as floats, in the model and in each update."""
    forms = [
        {name: arrays[name].shape for name in names if name in arrays and arrays[name].dtype.kind == "f"}
        for arrays in (model, *(update.arrays for update in updates))
    ]
    return bool(names) and len(forms[0]) == len(names) and all(form == forms[0] for form in forms)


def _norms(updates: Ordered, models: Sequence[Arrays], names: Sequence[str]) -> list[tuple[float, ...]]:
    """Return for each model the Euclidean norm of each update minus it, of large models an estimate."""
    squares = np.zeros((len(models), len(updates)))
    scratch = np.empty((2, BLOCK))
    share = MOST_VALUES / len(updates) / sum(models[0][name].size for name in names)
    place = _place(models[0], names)
    with np.errstate(over="ignore", invalid="ignore"):
        for group in together({name: models[0][name].size for name in names}, share):
            rows = [join(update.arrays, group) for update in updates]
            flat = [join(model, group) for model in models]
            whole = [slice(0, rows[0].size)]
            sampled = pieces(rows[0].size, share, place) if len(group) == 1 else whole
            found = np.zeros_like(squares)
            for piece in sampled:
                part = scratch[:, : piece.stop - piece.start]
                _add_squares([row[piece] for row in rows], [each[piece] for each in flat], part, found)
            squares += found * (rows[0].size / max(1, sum(each.stop - each.start for each in sampled)))
        norms = np.sqrt(squares)
    norms[np.isnan(norms)] = np.inf
    return [tuple(map(float, each)) for each in norms]


def together(sizes: Mapping[str, int], share: float) -> Iterator[list[str]]:
    """Yield the names of arrays that are measured as one: small ones, which a sample takes whole.

    A model of thousands of arrays would take longer to walk through than to measure.
    """
    group: list[str] = []
    taken = 0
    for name, size in sizes.items():
        small = size <= max(math.ceil(size * share), LEAST) and size <= BLOCK
        if group and (not small or taken + size > BLOCK):
            yield group
            group, taken = [], 0
        if not small:
            yield [name]
            continue
        group.append(name)
        taken += size
    if group:
        yield group


def pieces(size: int, share: float, place: float) -> list[slice]:
    """Return where an array of so many values is measured: all of it, or pieces at even distances.

    Parameters
    ----------
    share
        Of the values; at least `LEAST` of each array are measured.
    place
        Where a piece lies in its part of the array, from 0 to 1.
    """
    wanted = max(math.ceil(size * share), LEAST)
    if wanted >= size:
        return list(blocks(size, BLOCK))
    count = math.ceil(wanted / BLOCK)
    part = size / count
    length = min(math.ceil(wanted / count), int(part))
    starts = (int(i * part + place * (part - length)) for i in range(count))
    return [slice(start, start + length) for start in starts]


def _place(model: Arrays, names: Sequence[str]) -> float:
    """Return a place that follows from the new model: the same after a resume, and not known to clients."""
    digest = 0
    for name in names:
        digest = zlib.crc32(model[name].reshape(-1)[:LEAST].tobytes(), digest)
    return digest / 2**32


def _add_squares(
    rows: Sequence[NDArray],
    models: Sequence[NDArray],
    scratch: npt.NDArray[np.float64],
    squares: npt.NDArray[np.float64],
) -> None:
    """Add the squares of rows minus models; a row is widened once, and not in each difference."""
    row, difference = scratch
    wide = [model.astype(np.float64) for model in models]
    for i, values in enumerate(rows):
        np.copyto(row, values, casting="same_kind")
        for j, model in enumerate(wide):
            np.subtract(row, model, out=difference)
            squares[j, i] += difference @ difference


def _in_medians(norms: Sequence[float]) -> tuple[float, ...]:
    """Divide by the lower median of those that change something, as the bound on changes does."""
    middle = lower_median(norm for norm in norms if norm > 0)
    if middle in (0.0, math.inf):
        return tuple(0.0 if norm == 0 else math.inf if norm == math.inf else 1.0 for norm in norms)
    return tuple(norm / middle for norm in norms)
