"""The report of a training: one file that opens without a network and runs no script."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from oneflower.files import replace_file
from oneflower.journal import TrainingState
from oneflower.journal.events import SettingRow
from oneflower.monitor.html.document import document
from oneflower.monitor.html.headline import headline, title
from oneflower.monitor.html.markup import Html, day, el, join, note
from oneflower.monitor.html.panel import Page, Shown
from oneflower.monitor.html.panels import panels_of
from oneflower.monitor.state.safety import Inspector, Safety, from_journal
from oneflower.monitor.text.values import journal_problems

# An empty journal has no time, and nothing to reckon with one.
NO_TIME = datetime.fromtimestamp(0, UTC)
POLICY = Html(
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "style-src 'unsafe-inline'; img-src data:\">\n"
)


def render_report(
    view: TrainingState, settings: Iterable[SettingRow] = (), *, safety: Safety | None = None
) -> str:
    """Return the page as HTML. Every text from outside (clients, paths, settings) is escaped.

    Parameters
    ----------
    settings : iterable of SettingRow
        Those of this training, for a journal that does not hold them.
    safety : Safety | None
        What was found in the checkpoint folder; None takes what the journal says.
    """
    shown = Shown(
        state=view,
        safety=safety or from_journal(view),
        now=view.last_time or NO_TIME,
        page=Page.REPORT,
        settings=tuple(settings),
    )
    cards = [panel.card(panel.render(shown), Page.REPORT) for panel in panels_of(Page.REPORT)]
    missing = [note(f"{what} {detail}") for what, detail in journal_problems(view)]
    intro = [el("h1", title(view)), headline(view), el("p", _when(view)), *missing]
    parts = [el("div", *intro, class_="intro"), el("div", *cards, class_="grid")]
    return document(
        title=f"{title(view)} · oneflower report",
        content=join(parts),
        head=POLICY,
        footer=Html("Written by oneflower from the training's journal."),
    )


def write_report(path: Path, view: TrainingState, settings: Iterable[SettingRow] = ()) -> None:
    """Write the page whole: a reader sees the old or the new one, also beside another who writes it."""
    replace_file(path, render_report(view, settings, safety=Inspector().look(view)).encode(), mode=0o666)


def _when(view: TrainingState) -> str:
    if not view.first_time or not view.last_time:
        return ""
    return f"{day(view.first_time)} to {day(view.last_time)}"
