"""How a round's metrics are told: the loss and the quality, by the words that people use."""

from collections.abc import Mapping

from oneflower.quality import LOSS, QUALITY, family, primary


def label(name: str) -> str:
    """Return what people call a metric: loss, accuracy, or the app's own word."""
    measure = name.partition(" ")[2]
    if family(name) == LOSS:
        return "loss"
    return "accuracy" if "acc" in measure.lower() else measure


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
