"""Every round in numbers: what the curves show, to be read exactly."""

from oneflower.codes import Outcome
from oneflower.journal import TrainingState
from oneflower.monitor.html.markup import Html, el, join, note, table
from oneflower.monitor.html.panel import EVERYWHERE, Page, Panel, Shown
from oneflower.monitor.html.panels.curves import PLACES
from oneflower.monitor.state.attendance import counts
from oneflower.monitor.text.own_loop import NO_ROUNDS
from oneflower.monitor.text.values import metric_text
from oneflower.quality import Measure

# The dashboard shows the newest rounds in numbers; the report shows them all.
MOST_ROUNDS = 30


def rounds(view: TrainingState, *, most: int | None = None) -> Html:
    """Return the rounds as a table, newest first; ``most`` leaves the older ones to the report."""
    if view.own_loop is not None:
        return note(NO_ROUNDS)
    names = view.measures()
    found = counts(view)
    numbers = sorted(view.rounds, reverse=True)
    rows = []
    for number in numbers[:most]:
        result, each = view.rounds[number], found[number]
        left_out = each.get(Outcome.QUARANTINED, 0) + each.get(Outcome.FAILED, 0)
        metrics = (metric_text(result.metrics[n]) if n in result.metrics else "" for n in names)
        rows.append((str(number), str(result.valid), str(left_out or ""), f"{result.seconds:.1f}", *metrics))
    heads = ("Round", "Updates", "Left out", "Seconds", *map(_head, names))
    more = None
    if most is not None and len(numbers) > most:
        more = el("p", f"The report holds all {len(numbers)} rounds.", class_="none")
    return join([table("Rounds", heads, rows), more])


def _panel(shown: Shown) -> Html:
    return rounds(shown.state, most=MOST_ROUNDS if shown.page is Page.DASHBOARD else None)


def _head(name: Measure) -> str:
    origin, metric = name
    return f"{PLACES[origin]}: {metric}"


PANELS = (Panel(id="rounds", heading="Rounds", place=120, wide=EVERYWHERE, folded=True, render=_panel),)
