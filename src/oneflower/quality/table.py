"""The table of metrics: which one is the quality, and which way it gets better."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from oneflower.quality.measures import ORIGINS, Measure, Origin, measure

AUTOMATIC: Final = ""


class Family(StrEnum):
    """What a metric tells."""

    LOSS = "loss"
    QUALITY = "quality"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: metrics whose name contains ``word`` are of this family.

    ``label`` is what people call such a metric; empty for the app's own name.
    """

    word: str
    family: Family
    label: str = ""

    def covers(self, name: str) -> bool:
        """Whether a metric of this name is meant."""
        return self.word in name.lower()


TABLE: Final = (
    Row(word="loss", family=Family.LOSS, label="loss"),
    Row(word="acc", family=Family.QUALITY, label="accuracy"),
    Row(word="auc", family=Family.QUALITY),
    Row(word="precision", family=Family.QUALITY),
    Row(word="recall", family=Family.QUALITY),
    Row(word="f1", family=Family.QUALITY),
)
"""The first row that covers a metric decides; of several qualities the earlier row's is more telling.

A loss is better when it is lower, a quality when it is higher. FL_BEST_METRIC is a row before all others: it
names one metric, and with a sign which way that gets better (`Wanted`).
"""


@lru_cache(maxsize=4096)
def row_of(name: str) -> int | None:
    """Return the place in the table of the first row that covers a metric."""
    return next((place for place, row in enumerate(TABLE) if row.covers(name)), None)


def family(found: Measure) -> Family | None:
    """Return whether a metric is a loss, a quality, or neither."""
    place = row_of(found.name)
    return None if place is None else TABLE[place].family


def label(found: Measure) -> str:
    """Return what people call a metric: loss, accuracy, or the app's own name."""
    place = row_of(found.name)
    return (TABLE[place].label if place is not None else "") or found.name


def in_order(measures: Iterable[Measure]) -> list[Measure]:
    """Sort metrics, the most telling origin first."""
    return sorted(measures, key=lambda each: (ORIGINS.index(each.origin), each.name))


def primary(measures: Iterable[Measure], wanted: Family) -> Measure | None:
    """Return the most telling metric of a family, by its origin, then by its row; None without one."""
    return min((each for each in measures if family(each) is wanted), key=_rank, default=None)


def headline(metrics: Mapping[Measure, float]) -> dict[str, float]:
    """Return the loss and the quality of a round by their labels, as `headline_measures` chooses them."""
    return {label(each): metrics[each] for each in headline_measures(metrics)}


def label_beside(found: Measure, metrics: Mapping[Measure, float]) -> str:
    """Return what a metric is called beside the headline of a round: by its label where it is in that.

    A loss of the clients beside the server's, both called loss, would be taken for one metric.
    """
    return label(found) if found in headline_measures(metrics) else found.text


def headline_measures(metrics: Mapping[Measure, float]) -> list[Measure]:
    """Return the loss and the quality of a round, each from the most telling origin.

    Without an accuracy two qualities are told, as an area under a curve and the precision: one alone flatters
    where what is looked for is rare.
    """
    found = [primary(metrics, Family.LOSS), quality := primary(metrics, Family.QUALITY)]
    if quality and label(quality) != "accuracy":
        others = [each for each in metrics if each != quality and each.origin is quality.origin]
        found.append(primary(others, Family.QUALITY))
    return [each for each in found if each]


def _rank(found: Measure) -> tuple[int, int, str]:
    places = [at for at, row in enumerate(TABLE) if row.family is Family.QUALITY and row.covers(found.name)]
    return ORIGINS.index(found.origin), min(places, default=-1), found.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The row of the table that FL_BEST_METRIC adds. ``origin`` is None for the most telling one that has it.

    ``name`` is empty for the automatic choice: the most telling accuracy, AUC, precision, recall or F1,
    else the most telling loss.
    """

    origin: Origin | None
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
        origin, name = _origin_and_name(bare)
        if sign and not name:
            raise ValueError(f"{text!r}: expected a metric's name after {sign!r}, as in -eval_loss")
        if name and not sign and _is_loss(name):
            raise ValueError(
                f"{text!r}: a loss is better when it is lower. Write -{bare}, or +{bare} if higher is better"
            )
        return cls(origin=origin, name=name, higher=sign != "-")

    @property
    def text(self) -> str:
        """The value of FL_BEST_METRIC that means this."""
        if not self.name:
            return AUTOMATIC
        sign = "-" if not self.higher else "+" if _is_loss(self.name) else ""
        return f"{sign}{self.origin} {self.name}" if self.origin else f"{sign}{self.name}"

    @property
    def prefers_the_worst(self) -> bool:
        """Whether lower is said to be better of a metric that names a quality, as in ``-accuracy``."""
        place = row_of(self.name) if self.name and not self.higher else None
        return place is not None and TABLE[place].family is Family.QUALITY

    def choose(self, measures: Iterable[Measure]) -> Measure | None:
        """Return which of the metrics measured so far is the quality, None where none is."""
        there = list(measures)
        if not self.name:
            return primary(there, Family.QUALITY) or primary(there, Family.LOSS)
        origins = (self.origin,) if self.origin else ORIGINS
        return next((full for o in origins if (full := measure(o, self.name)) in there), None)

    def decided_centrally(self, measured: Iterable[str]) -> bool:
        """Tell whether these names that the server has measured decide, and no client's metric can."""
        chosen = self.choose(measure(Origin.CENTRAL, name) for name in measured)
        return chosen is not None and (bool(self.name) or family(chosen) is Family.QUALITY)

    def higher_is_better(self, metric: Measure) -> bool:
        """Tell which way a metric gets better."""
        return self.higher if self.name else family(metric) is not Family.LOSS

    def better(self, metric: Measure, value: float, than: float | None, *, delta: float = 0.0) -> bool:
        """Tell whether a value beats another by more than `delta`; NaN and infinity never do."""
        if not math.isfinite(value):
            return False
        if than is None:
            return True
        return value - than > delta if self.higher_is_better(metric) else than - value > delta


def _origin_and_name(text: str) -> tuple[Origin | None, str]:
    origin, _, name = text.partition(" ")
    return (Origin(origin), name.strip()) if origin in set(Origin) and name.strip() else (None, text)


def _is_loss(name: str) -> bool:
    place = row_of(name)
    return place is not None and TABLE[place].family is Family.LOSS


def measure_named(text: str) -> Measure | None:
    """Read what `Measure.text` wrote into a manifest; None for what is no such text."""
    origin, name = _origin_and_name(text)
    return None if origin is None else measure(origin, name)


def wanted_or_automatic(text: object) -> Wanted:
    """Return what a journal or a manifest says was wanted; automatic where it says nothing that is known."""
    try:
        return Wanted.parse(text if isinstance(text, str) else AUTOMATIC)
    except ValueError:
        return Wanted.parse(AUTOMATIC)
