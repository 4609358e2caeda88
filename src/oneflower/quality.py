"""Which metric says how good a model is, and which way is better: one answer for all that ask.

Retention, the best checkpoint, early stopping, the status, the page and the report read it here. A metric is
named ``origin name``, as in ``central accuracy``: where it was measured, and what the app calls it.
"""

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

# Where a metric was measured, the most telling first: on held-out data, by the clients, while they trained.
ORIGINS: Final = ("central", "evaluate", "train")
LOSS: Final = "loss"
QUALITY: Final = "quality"
AUTOMATIC: Final = ""
_QUALITY_WORDS: Final = ("acc", "auc", "precision", "recall", "f1")

RoundMetrics = Mapping[str, float]
"""The numbers of one round by ``origin name``; `flat` makes them of metrics by origin."""


def family(name: str) -> str | None:
    """Return whether a metric is a loss, a quality, or neither."""
    measure = name.lower()
    if "loss" in measure:
        return LOSS
    return QUALITY if any(word in measure for word in _QUALITY_WORDS) else None


def in_order(names: Iterable[str]) -> list[str]:
    """Sort metric names, the most telling origin first."""
    return sorted(names, key=lambda name: (ORIGINS.index(name.partition(" ")[0]), name))


def primary(names: Iterable[str], wanted: str) -> str | None:
    """Return the most telling metric of a family: accuracy, then AUC, then others; None without one."""
    of_family = [name for name in in_order(names) if family(name) == wanted]
    return min(of_family, key=_rank, default=None)


def _rank(name: str) -> tuple[int, int, str]:
    origin, _, measure = name.partition(" ")
    words = [index for index, word in enumerate(_QUALITY_WORDS) if word in measure.lower()]
    return ORIGINS.index(origin), min(words, default=-1), name


def flat(metrics: Mapping[str, Mapping[str, Any] | None]) -> dict[str, float]:
    """Return a round's metrics by origin as finite numbers by ``origin name``, without lists and text."""
    return {
        sys.intern(f"{origin} {name}"): number  # one text for the thousands of rounds that a reader keeps
        for origin in ORIGINS
        for name, value in (metrics.get(origin) or {}).items()
        if (number := _finite(value)) is not None
    }


def _finite(value: object) -> float | None:
    """Return a number as a float; None for what is none, is not finite, or is beyond every float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The metric that FL_BEST_METRIC names. ``origin`` is empty where any will do, the most telling first.

    ``name`` is empty for the automatic choice: the most telling accuracy, AUC, precision, recall or F1,
    else the most telling loss.
    """

    origin: str
    name: str
    higher: bool

    @classmethod
    def parse(cls, text: str) -> "Wanted":
        """Take apart ``eval_acc``, ``-eval_loss`` (lower is better) or ``-central loss``; empty is automatic.

        Raises
        ------
        ValueError
            No name, or a loss for which higher would be better; the text says what to write.
        """
        sign, bare = (text[0], text[1:].strip()) if text[:1] in ("+", "-") else ("", text.strip())
        origin, _, rest = bare.partition(" ")
        origin, name = (origin, rest.strip()) if origin in ORIGINS and rest.strip() else ("", bare)
        if sign and not name:
            raise ValueError(f"{text!r}: expected a metric's name after {sign!r}, as in -eval_loss")
        if name and not sign and family(name) == LOSS:
            raise ValueError(
                f"{text!r}: a loss is better when it is lower. Write -{bare}, or +{bare} if higher is better"
            )
        return cls(origin=origin, name=name, higher=sign != "-")

    @property
    def text(self) -> str:
        """The value of FL_BEST_METRIC that means this."""
        sign = "-" if not self.higher else "+" if family(self.name) == LOSS else ""
        return f"{sign}{self.origin} {self.name}".replace(f"{sign} ", sign, 1) if self.name else AUTOMATIC

    def choose(self, names: Iterable[str]) -> str | None:
        """Return which of the metrics measured so far is the quality, None where none is."""
        there = list(names)
        if not self.name:
            return primary(there, QUALITY) or primary(there, LOSS)
        origins = (self.origin,) if self.origin else ORIGINS
        return next((full for o in origins if (full := f"{o} {self.name}") in there), None)

    def higher_is_better(self, metric: str) -> bool:
        """Tell which way a metric gets better."""
        return self.higher if self.name else family(metric) != LOSS

    def better(self, metric: str, value: float, than: float | None, *, delta: float = 0.0) -> bool:
        """Tell whether a value beats another by more than `delta`; NaN and infinity never do."""
        if not math.isfinite(value):
            return False
        if than is None:
            return True
        return value - than > delta if self.higher_is_better(metric) else than - value > delta


def wanted_or_automatic(text: object) -> Wanted:
    """Return what a journal or a manifest says was wanted; automatic where it says nothing that is known."""
    try:
        return Wanted.parse(text if isinstance(text, str) else AUTOMATIC)
    except ValueError:
        return Wanted.parse(AUTOMATIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best round, and the metric and value that make it so."""

    round: int
    metric: str
    value: float
    higher: bool


@dataclass(slots=True)
class BestSoFar:
    """The best of the rounds taken so far, at a constant cost a round. Of equals the first stays.

    With ``delta`` a round counts only where it beats the last one that counted by more than that: what early
    stopping asks. A round may be taken again with what was measured later.
    """

    wanted: Wanted = field(default_factory=lambda: Wanted.parse(AUTOMATIC))
    delta: float = 0.0
    _leaders: dict[str, tuple[int, float]] = field(default_factory=dict)

    def take(self, number: int, metrics: RoundMetrics) -> None:
        """Note a round's metrics."""
        for name, value in metrics.items():
            _, than = self._leaders.get(name, (0, None))
            if self.wanted.better(name, value, than, delta=self.delta):
                self._leaders[name] = number, value

    def best(self) -> Best | None:
        """Return the best round by the quality, None where no round has one."""
        name = self.wanted.choose(self._leaders)
        if name is None:
            return None
        number, value = self._leaders[name]
        return Best(round=number, metric=name, value=value, higher=self.wanted.higher_is_better(name))


def best_of(rounds: Mapping[int, RoundMetrics], wanted: Wanted | None = None) -> Best | None:
    """Return the best of some rounds, the first of equals."""
    best = BestSoFar(wanted or Wanted.parse(AUTOMATIC))
    for number in sorted(rounds):
        best.take(number, rounds[number])
    return best.best()
