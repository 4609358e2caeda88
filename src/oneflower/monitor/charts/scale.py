"""From rounds and values to places in a picture, as fractions: the browser stretches them to any size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

TICKS: Final = 5
ROUND_TICKS: Final = 8
# Beyond it a difference of two values may be infinite; such a loss is no point of a curve any more.
LARGEST: Final = 1e300
SMALLEST: Final = 1e-300
# Values that differ by more than this factor are laid out by their logarithm.
MOST_EVEN: Final = 1e4


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers that enclose the values, about five of them."""
    if high - low < 1e-12 * max(1.0, abs(high)):
        margin = max(0.5 * max(abs(low), abs(high)) or 0.5, SMALLEST)
        low, high = low - margin, high + margin
    step = _step(high - low, TICKS - 1)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """How values are laid out: evenly, or by their logarithm where they span many powers of ten."""

    labels: tuple[tuple[float, str], ...]
    is_logarithmic: bool

    def place(self, value: float) -> float:
        """Return where a value lies between the labels' places."""
        return math.log10(value) if self.is_logarithmic else value

    @property
    def low(self) -> float:
        """The lowest label's place."""
        return self.labels[0][0]

    @property
    def high(self) -> float:
        """The highest label's place."""
        return self.labels[-1][0]


def axis(values: Sequence[float]) -> Axis:
    """Choose an axis: a loss that an attack sends to 1e31 must not press the others flat."""
    low, high = min(values), max(values)
    if low > 0 and high / MOST_EVEN > low:
        powers = ticks(math.floor(math.log10(low)), math.ceil(math.log10(high)))
        whole = sorted({math.floor(power) for power in powers} | {math.ceil(powers[-1])})
        return Axis(labels=tuple((power, f"1e{power}") for power in whole), is_logarithmic=True)
    return Axis(labels=tuple((value, f"{value:.4g}") for value in ticks(low, high)), is_logarithmic=False)


def round_ticks(first: int, last: int) -> list[int]:
    """Return whole rounds to label, about eight of them, the first and round numbers."""
    step = max(1, math.ceil(_step(max(1, last - first), ROUND_TICKS)))
    return sorted({first, *range(-(-first // step) * step or step, last + 1, step)})


def _step(span: float, parts: int) -> float:
    raw = span / parts
    magnitude = 10.0 ** math.floor(math.log10(raw))
    return next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw * 0.999)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Rounds from left to right, values from bottom to top; fractions between 0 and 1."""

    first: float
    last: float
    axis: Axis

    def x(self, number: float) -> float:
        """Return how far right a round lies."""
        return (number - self.first) / max(1e-9, self.last - self.first)

    def y(self, value: float) -> float:
        """Return how far down a value lies."""
        return self.height(self.axis.place(value))

    def height(self, place: float) -> float:
        """Return how far down a place of the axis lies."""
        return (self.axis.high - place) / (self.axis.high - self.axis.low)


def last_round_drawn(done: int, total: int) -> int:
    """Return where the axis of rounds ends: at the plan's end, or soon after what is done early on."""
    if done * 3 >= total:
        return max(done, total, 2)
    return min(total, max(done + max(1, done // 5), 5))
