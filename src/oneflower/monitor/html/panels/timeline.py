"""What happened: starts, losses, resumes, failed rounds and first troubles, newest first."""

from oneflower.journal import TrainingState
from oneflower.journal.state.records import Moment
from oneflower.monitor.charts.marks import kind_of
from oneflower.monitor.html.markup import Html, el, join, moment, note
from oneflower.monitor.text.lines import describe

MOST_SHOWN = 6


def timeline(view: TrainingState, *, most: int = MOST_SHOWN) -> Html:
    """Return the moments as a list; the older ones are folded away."""
    items = [_item(view, each) for each in reversed(view.moments)]
    if not items:
        return note("Nothing has happened yet.")
    rest = items[most:]
    older = el("details", el("summary", f"{len(rest)} earlier"), el("ol", *rest, class_="moments"))
    return join([el("ol", *items[:most], class_="moments"), older if rest else None])


def _item(view: TrainingState, each: Moment) -> Html:
    kind = kind_of(each)
    words = describe(each.entry, view) or each.event.tag.replace("_", " ")
    sign = el("span", kind.sign, class_=f"sign {kind.style}", aria_hidden="true")
    return el("li", sign, moment(each.time), el("span", f"{words[:1].upper()}{words[1:]}", class_="what"))
