"""What was measured, where, and how much: the metrics of a round."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple


class Origin(StrEnum):
    """Where a metric was measured, the most telling first.

    On the server's held-out data, on the clients' own held-out data, while the clients trained.
    """

    CENTRAL = "central"
    EVALUATE = "evaluate"
    TRAIN = "train"


ORIGINS: Final = tuple(Origin)


class Measure(NamedTuple):
    """What was measured: the origin and the app's own name for it."""

    origin: Origin
    name: str

    @property
    def text(self) -> str:
        """The measure as people, FL_BEST_METRIC and the manifests name it: ``central loss``."""
        return f"{self.origin} {self.name}"


@lru_cache(maxsize=4096)
def measure(origin: Origin, name: str) -> Measure:
    """Return a measure; one object for the thousands of rounds that a reader keeps."""
    return Measure(origin, name)


@dataclass(frozen=True, slots=True)
class Metric:
    """A number, or a list of numbers, that was measured; NaN stands for every number that is not finite."""

    origin: Origin
    name: str
    value: float | tuple[float, ...]

    @property
    def measure(self) -> Measure:
        """What was measured."""
        return measure(self.origin, self.name)


RoundMetrics = Mapping[Measure, float]
"""The numbers of one round; `flat` makes them of metrics by origin."""


def flat(metrics: Mapping[str, Mapping[str, Any] | None]) -> dict[Measure, float]:
    """Return a round's metrics by origin as finite numbers, without lists and text."""
    return {
        measure(origin, name): number
        for origin in ORIGINS
        for name, value in (metrics.get(origin) or {}).items()
        if (number := _finite(value)) is not None
    }


def as_metrics(metrics: Mapping[str, Mapping[str, Any]]) -> tuple[Metric, ...]:
    """Return a round's metrics by origin as they stand in an event: numbers, and lists of numbers."""
    return tuple(
        Metric(origin, name, tuple(value) if isinstance(value, list | tuple) else value)
        for origin in ORIGINS
        for name, value in metrics.get(origin, {}).items()
    )


def numbers(metrics: Iterable[Metric]) -> dict[Measure, float]:
    """Return metrics as finite numbers, without lists."""
    return {each.measure: found for each in metrics if (found := _finite(each.value)) is not None}


def _finite(value: object) -> float | None:
    """Return a number as a float; None for what is none, is not finite, or is beyond every float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
