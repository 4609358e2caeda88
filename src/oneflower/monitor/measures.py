"""Which of an app's metrics mean what: a loss falls, a quality rises, and where it was measured counts."""

from collections.abc import Iterable, Mapping
from typing import Final

# Where a metric was measured, the most telling first: on held-out data, by the clients, while they trained.
ORIGINS: Final = ("central", "evaluate", "train")
LOSS: Final = "loss"
QUALITY: Final = "quality"
_QUALITY_WORDS: Final = ("acc", "auc", "precision", "recall", "f1")


def family(name: str) -> str | None:
    """Return whether a metric is a loss, a quality, or neither."""
    measure = name.lower()
    if "loss" in measure:
        return LOSS
    return QUALITY if any(word in measure for word in _QUALITY_WORDS) else None


def in_order(names: Iterable[str]) -> list[str]:
    """Sort metric names, the most telling origin first."""
    return sorted(names, key=lambda name: (ORIGINS.index(name.split(maxsplit=1)[0]), name))


def label(name: str) -> str:
    """Return what people call a metric: loss, accuracy, or the app's own word."""
    measure = name.partition(" ")[2]
    if family(name) == LOSS:
        return "loss"
    return "accuracy" if "acc" in measure.lower() else measure


def primary(names: Iterable[str], wanted: str) -> str | None:
    """Return the most telling metric of a family: accuracy, then AUC, then others; None without one."""
    of_family = [name for name in in_order(names) if family(name) == wanted]
    return min(of_family, key=lambda name: _rank(name, of_family), default=None)


def _rank(name: str, names: list[str]) -> tuple[int, int, int]:
    measure = name.partition(" ")[2].lower()
    words = [index for index, word in enumerate(_QUALITY_WORDS) if word in measure]
    return ORIGINS.index(name.split(maxsplit=1)[0]), min(words, default=-1), names.index(name)


def headline(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the loss and the quality of a round, each from the most telling origin that has it.

    Without an accuracy two qualities are told, as an area under a curve and the precision: one alone flatters
    where what is looked for is rare.
    """
    found = [primary(metrics, LOSS), quality := primary(metrics, QUALITY)]
    if quality and label(quality) != "accuracy":
        origin = quality.split(maxsplit=1)[0]
        others = [name for name in metrics if name != quality and name.startswith(origin)]
        found.append(primary(others, QUALITY))
    return {label(name): metrics[name] for name in found if name}
