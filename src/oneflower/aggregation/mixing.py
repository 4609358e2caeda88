"""Means in the place of updates, before a rule sees them: these differ less than the updates do."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from functools import partial

import numpy as np

from oneflower.aggregation.errors import AggregationError
from oneflower.aggregation.parameter import Values
from oneflower.aggregation.points import Points, Use
from oneflower.aggregation.spec import Aggregate, Bound, Round, State, StrategySpec
from oneflower.aggregation.updates import Arrays, Ordered

BUCKET = 2
"""Updates in a bucket, which the paper recommends: with more a bucket is too easily spoilt."""


class PreAggregation(StrEnum):
    """What is done with the updates of a round before the rule (FL_PRE_AGGREGATION)."""

    NONE = "none"
    NNM = "NNM"
    BUCKETING = "bucketing"


def nearest_neighbours(points: Points, num_malicious: int) -> Points:
    """Return each point's mean with its n - f - 1 nearest others.

    Allouah et al. 2023, "Fixing by Mixing: A Recipe for Optimal Byzantine ML under Heterogeneity",
    algorithm 2 (NNM). Of two points equally far the first in the fixed order is taken.
    """
    nearest = np.argsort(points.central(Use.SELECT).distances, axis=1, kind="stable")
    kept = len(points) - num_malicious
    return points.means(tuple(tuple(sorted(int(i) for i in row[:kept])) for row in nearest))


def bucketing(points: Points, seed: int, number: int) -> Points:
    """Return the means of buckets of two points, in an order that follows from the seed and the round.

    Karimireddy et al. 2022, "Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing", algorithm
    1. Of an odd number the last bucket has one point. The order is that of the SHA-256 of (seed, round,
    place in the fixed order), which no version of NumPy changes.
    """

    def drawn(place: int) -> bytes:
        return hashlib.sha256(f"{seed} {number} {place}".encode()).digest()

    order = sorted(range(len(points)), key=drawn)
    starts = range(0, len(order), BUCKET)
    return points.means(tuple(tuple(sorted(order[start : start + BUCKET])) for start in starts))


def pre_aggregated(spec: StrategySpec, kind: str) -> StrategySpec:
    """Return a strategy whose rule sees means of the updates.

    Raises
    ------
    AggregationError
        The rule weighs by examples, or there is no such kind.
    """
    if kind == PreAggregation.NONE:
        return spec
    if spec.weights_by_examples or kind not in PreAggregation.__members__.values():
        raise AggregationError(f"FL_PRE_AGGREGATION={kind} cannot stand before {spec.name}")
    if kind == PreAggregation.NNM:
        return replace(spec, apply=partial(_apply, spec, _neighbours))
    return replace(
        spec,
        apply=partial(_apply, spec, _buckets),
        bound=_of_buckets(spec.bound),
        withstands=lambda values, count: spec.withstands(values, -(-count // BUCKET)),
    )


def _of_buckets(bound: Bound) -> Bound:
    """Return the least number of updates of which the buckets are as many as a bound asks for."""
    return Bound(BUCKET * bound.per_malicious, BUCKET * (bound.constant - 1) + 1)


Mix = Callable[[int, Round], Callable[[Points], Points]]


def _neighbours(malicious: int, _round: Round) -> Callable[[Points], Points]:
    return lambda points: nearest_neighbours(points, malicious)


def _buckets(_malicious: int, this_round: Round) -> Callable[[Points], Points]:
    return lambda points: bucketing(points, this_round.seed, this_round.number)


def _apply(  # noqa: PLR0913, PLR0917 - those of `Apply` behind two
    spec: StrategySpec,
    mix: Mix,
    updates: Ordered,
    model: Arrays,
    state: State,
    values: Values,
    this_round: Round,
) -> Aggregate:
    malicious = min(spec.withstands(values, len(updates)), (len(updates) - 1) // 2)
    return spec.apply(updates, model, state, values, replace(this_round, mix=mix(malicious, this_round)))
