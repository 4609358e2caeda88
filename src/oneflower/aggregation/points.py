"""What a robust rule aggregates: the updates, or means of some of them, which are never whole models."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np

from oneflower.aggregation.blocks import (
    BLOCK,
    Allocate,
    BlockRule,
    Combined,
    Rows,
    RuleFactory,
    Whole,
    blocks,
    combine,
)
from oneflower.aggregation.compiled import kernel
from oneflower.aggregation.distances import (
    LARGEST_PRODUCT,
    ORDINARY,
    SHRINK,
    STRETCH,
    Arithmetic,
    Distances,
    is_counter,
    squared_distances,
)
from oneflower.aggregation.kernel import Kernel
from oneflower.aggregation.mean import mean_of, mean_rule
from oneflower.aggregation.updates import Arrays, NDArray, Ordered, Update

LEAST_SQUARE = 2.0**-900
"""Below it the square of a shrunk difference loses digits; unshrunk, it is an ordinary number."""

Groups = tuple[tuple[int, ...], ...]
"""The members of each new point, ascending: it is their plain mean."""

FLOAT64 = np.dtype(np.float64)


class Use(Enum):
    """What inner products are for. The compiled kernel's have other roundings than BLAS's (decision 234)."""

    SELECT = "they decide which points are taken, and ties of rounding aside both decide alike"
    WEIGH = "they become weights, and so the bytes of the model: they are always NumPy's"


@dataclass(frozen=True, slots=True, kw_only=True)
class Central:
    """Inner products of the points' differences from one of them, in float64.

    Attributes
    ----------
    centre
        The point that is nearest to a majority: among points of which fewer than half are malicious, the
        majority around it holds an honest one.
    products
        <x_i - x_c, x_j - x_c>; shape (n, n). A point too far for float64 has infinity or NaN.
    """

    centre: int
    products: Distances

    @property
    def distances(self) -> Distances:
        """The squared distances; infinity where float64 overflows."""
        squares = np.diagonal(self.products)
        with np.errstate(over="ignore", invalid="ignore"):
            sums = squares[:, None] + squares[None, :]
            found = np.maximum(sums - (self.products + self.products.T), 0.0)
        distances: Distances = np.where(np.isnan(found), np.inf, found)
        np.fill_diagonal(distances, 0.0)
        return distances

    @property
    def radii(self) -> Distances:
        """Each point's distance to the farthest of the floor(n/2)+1 points nearest to it, itself included."""
        radii: Distances = np.sqrt(np.sort(self.distances, axis=1)[:, len(self.products) // 2])
        return radii

    @property
    def radius(self) -> float:
        """The radius of the centre."""
        return float(self.radii[self.centre])


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Points of the space of models: each is an update, or a mean of points before it.

    A mean is made block by block, when a rule or a distance wants the block: n mixed models are never in
    memory at once. Only the last of several stages of means is what the rule sees.
    """

    updates: Ordered
    stages: tuple[Groups, ...] = ()

    def __len__(self) -> int:
        return len(self.stages[-1]) if self.stages else len(self.updates)

    def means(self, groups: Groups) -> "Points":
        """Return the means of these groups of points."""
        return Points(self.updates, (*self.stages, groups))

    def only(self, indices: Sequence[int]) -> "Points":
        """Return these of the points, in this order."""
        if not self.stages:
            return Points(Ordered(tuple(self.updates[i] for i in indices)))
        return Points(self.updates, (*self.stages[:-1], tuple(self.stages[-1][i] for i in indices)))

    @property
    def used(self) -> tuple[Update, ...]:
        """The updates that are in one of the points, in the fixed order."""
        members = set(range(len(self)))
        for groups in reversed(self.stages):
            members = {member for index in members for member in groups[index]}
        return tuple(self.updates[i] for i in sorted(members))

    def shares(self, weights: Sequence[float]) -> tuple[float, ...]:
        """Return the weights of the updates where the points have these: a point's is split evenly."""
        sizes = (len(self.updates), *map(len, self.stages))
        for size, groups in zip(reversed(sizes[:-1]), reversed(self.stages), strict=True):
            members = [0.0] * size
            for weight, group in zip(weights, groups, strict=True):
                for member in group:
                    members[member] += weight / len(group)
            weights = members
        return tuple(weights)

    def of(self, names: Sequence[str]) -> "Points":
        """Return the same points of models that have these arrays alone."""
        parts = (replace(each, arrays={name: each.arrays[name] for name in names}) for each in self.updates)
        return Points(Ordered(tuple(parts)), self.stages)

    def beside(self, *models: Arrays) -> "Points":
        """Return these points after others, which are not mixed: the first is point 0."""
        count = len(models)
        alone = tuple((place,) for place in range(count))
        stages = tuple(
            (*alone, *(tuple(i + count for i in group) for group in groups)) for groups in self.stages
        )
        return Points(Ordered((*(Update(client=0, arrays=model) for model in models), *self.updates)), stages)

    def mix(self, rows: Rows) -> Rows:
        """Return the points at some coordinates, from the updates' rows of one float dtype."""
        for groups in self.stages:
            rows = _means(rows, groups)
        return rows

    def combine(self, make_rule: RuleFactory, allocate: Allocate, whole: Whole | None = None) -> Combined:
        """Apply a rule of coordinates to the points, see `blocks.combine`; of means, `whole` sees blocks."""
        if not self.stages:
            return combine(self.updates, make_rule, allocate, whole)

        def make(size: int, dtype: np.dtype[Any]) -> BlockRule:
            rule = make_rule(size, dtype)

            def apply(rows: Rows, out: NDArray) -> None:
                mixed = self.mix(rows)
                if whole is None or whole("", mixed, out):
                    rule(mixed, out)

            return apply

        return combine(self.updates, make, allocate)

    def squared_distances(self) -> Distances:
        """Return the squared distances; of updates as `distances.squared_distances` does."""
        return self.central(Use.SELECT).distances if self.stages else squared_distances(self.updates)

    def central(self, use: Use) -> Central:
        """Return the inner products around the point that is nearest to a majority.

        Differences from a point that is far from the others have lost the others' digits, but not who is
        among them: the models are read once around the first point, and again where it is not the centre.
        From far away, a nearer attacker seems to be where the others are: the models are read again as long
        as another point proves to be nearer to a majority.

        Of float64 arrays, where the squares leave float64 for the majority, all differences are multiplied by
        one power of two.
        """
        found = self._central(use, 1.0)
        if not self._is_wide() or 1 / ORDINARY <= found.radius**2 <= ORDINARY:
            return found
        if found.radius < 1:
            scaled = self._central(use, STRETCH)
            return scaled if 0 < scaled.radius < np.inf else found  # a majority of the points are one point
        scaled = self._central(use, SHRINK)
        # A majority that is at one place on that scale was seen from too far away, and is found by now.
        return scaled if scaled.radius**2 > LEAST_SQUARE else self._central(use, 1.0, scaled.centre)

    def _central(self, use: Use, factor: float, first: int = 0) -> Central:
        found, least = Central(centre=first, products=self.products(first, use, factor)), np.inf
        nearest = int(np.argmin(found.radii))
        while nearest != found.centre:
            found = Central(centre=nearest, products=self.products(nearest, use, factor))
            radius, best = found.radius, int(np.argmin(found.radii))
            if found.radii[best] < 0.5 * radius < 0.5 * least:  # the radius falls each time: it ends
                nearest, least = best, radius
        return found

    def _is_wide(self) -> bool:
        """Return whether an array holds numbers whose squares no float64 holds."""
        return any(a.dtype.kind == "f" and a.dtype.itemsize > 4 for a in self.updates[0].arrays.values())

    def products(self, centre: int, use: Use, factor: float = 1.0) -> Distances:
        """Return the inner products of the points' differences from one of them; counters are left out.

        The differences are multiplied by the factor.
        """
        count, compiled = len(self), kernel() if use is Use.SELECT else None
        arithmetic = Arithmetic(wide=True, factor=factor)
        products = np.zeros((count, count))
        order = [centre, *(i for i in range(count) if i != centre)]
        with np.errstate(over="ignore", invalid="ignore"):
            for name, array in self.updates[0].arrays.items():
                if is_counter(name, array):
                    continue
                columns = self._columns(name)
                if compiled and not self.stages and factor == 1:
                    found = compiled.products([columns[i] for i in order], FLOAT64)
                    if found is not None:
                        products[np.ix_(order, order)] += found
                        continue
                for block in blocks(array.size):
                    rows = self._block(columns, block)
                    differences = np.empty((count, block.stop - block.start))
                    for row, difference in zip(rows, differences, strict=True):
                        arithmetic.subtract(row, rows[centre], difference)
                    _add_products(differences, products, compiled)
        return products

    def _columns(self, name: str) -> Rows:
        return [update.arrays[name].reshape(-1) for update in self.updates]

    def _block(self, columns: Rows, block: slice) -> Rows:
        return self.mix([column[block].astype(np.float64) for column in columns])


def mean_of_points(points: Points, weights: Sequence[float], allocate: Allocate) -> Combined:
    """Return the sum of the points, each times its weight."""
    compiled = kernel()
    whole = compiled.mean(weights) if compiled else None
    return points.combine(lambda size, dtype: mean_rule(weights, size, dtype), allocate, whole)


def _means(rows: Rows, groups: Groups) -> Rows:
    """Return the mean of each group of rows; of IID data many groups are the same, and share one."""
    found: dict[tuple[int, ...], NDArray] = {}
    compiled = kernel()
    for group in groups:
        if group not in found:
            mean = rows[group[0]]
            if len(group) > 1:
                mean, members = np.empty_like(mean), [rows[i] for i in group]
                if not (compiled and compiled.plain_mean(members, mean)):
                    mean_of(members, mean)
            found[group] = mean
    return [found[group] for group in groups]


def _add_products(differences: NDArray, products: Distances, compiled: Kernel | None) -> None:
    """Add the rows' inner products: small pieces, of two arrays, because BLAS starts threads for others."""
    if compiled:
        origin = np.zeros_like(differences[0])
        found = compiled.products([origin, *differences], FLOAT64)
        if found is not None:
            products += found[1:, 1:]
            return
    other = differences.copy()
    depth = max(LARGEST_PRODUCT // len(differences) ** 2, 64)
    for piece in blocks(differences.shape[1], min(depth, BLOCK)):
        products += differences[:, piece] @ other[:, piece].T
