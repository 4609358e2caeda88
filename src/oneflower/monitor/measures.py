"""How a round's metrics are told: the loss and the quality, by the words that people use."""

from collections.abc import Mapping

from oneflower.quality import Family, Measure, label, primary


def headline(metrics: Mapping[Measure, float]) -> dict[str, float]:
    """Return the loss and the quality of a round, each from the most telling origin that has it.

    Without an accuracy two qualities are told, as an area under a curve and the precision: one alone flatters
    where what is looked for is rare.
    """
    found = [primary(metrics, Family.LOSS), quality := primary(metrics, Family.QUALITY)]
    if quality and label(quality) != "accuracy":
        others = [name for name in metrics if name != quality and name.origin is quality.origin]
        found.append(primary(others, Family.QUALITY))
    return {label(name): metrics[name] for name in found if name}
