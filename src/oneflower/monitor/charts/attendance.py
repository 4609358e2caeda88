"""How many clients each round had, and how many it went on without: a partition is seen as a gap."""

from collections import Counter
from dataclasses import replace
from typing import Final

from oneflower.codes import Outcome
from oneflower.journal import TrainingState
from oneflower.monitor.charts.picture import Curves, frame, grain, readable, stretched
from oneflower.monitor.charts.scale import Axis, Scale, ticks
from oneflower.monitor.html.markup import Html, el, note
from oneflower.monitor.state.attendance import VALID, Counts, counts

NAMES: Final = {VALID: "in the model", Outcome.QUARANTINED: "quarantined", Outcome.FAILED: "failed or silent"}
# Beyond so many rounds the bars stand without gaps.
MOST_SEPARATE: Final = 120


def draw_attendance(view: TrainingState, curves: Curves) -> Html:
    """Draw the clients of each round as stacked bars, over the same rounds as the curves."""
    found = counts(view)
    if not found:
        return note("No round has ended yet.")
    most = max(sum(each.values()) for each in found.values())
    high = ticks(0, max(1, most))[-1]
    whole = tuple((value, f"{value:g}") for value in (0, high / 2, high) if value == int(value))
    scale = Scale(
        first=curves.first - 0.5, last=curves.last + 0.5, axis=Axis(labels=whole, is_logarithmic=False)
    )
    labels = [(scale.height(value), words) for value, words in whole]
    lines = {
        name: [(number, each.get(kind, 0)) for number, each in sorted(found.items())]
        for kind, name in NAMES.items()
    }
    items = [
        el("li", el("i", class_=f"swatch {kind}"), name)
        for kind, name in NAMES.items()
        if any(each.get(kind) for each in found.values())
    ]
    bars = stretched(_bars(scale, found))
    return el(
        "figure",
        frame(scale, labels, bars, _words(found), (curves.first, curves.last)),
        el("ul", *items, class_="legend"),
        class_="chart short",
        **readable(lines, replace(curves, title="Clients by round")),
    )


def _bars(scale: Scale, found: Counts) -> list[Html]:
    """Return one path a kind: a thousand rounds are three shapes, not three thousand."""
    gap = 0.12 if len(found) <= MOST_SEPARATE else 0.0
    paths: dict[str, list[str]] = {kind: [] for kind in NAMES}
    for number, each in sorted(found.items()):
        left, right = grain(scale.x(number - 0.5 + gap)), grain(scale.x(number + 0.5 - gap))
        below = 0
        for kind in NAMES:
            if count := each.get(kind, 0):
                bottom, top = grain(scale.y(below)), grain(scale.y(below + count))
                paths[kind].append(f"M{left} {bottom}V{top}H{right}V{bottom}z")
                below += count
    return [el("path", class_=f"bar {kind}", d="".join(path)) for kind, path in paths.items() if path]


def _words(found: Counts) -> str:
    total: Counter[str] = Counter()
    for each in found.values():
        total.update(each)
    last = max(found)
    named = ", ".join(f"{total[kind]} {name}" for kind, name in NAMES.items())
    return f"Clients by round up to round {last}; client updates of all rounds together: {named}"
