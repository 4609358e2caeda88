"""The report of a training: one file that opens without a network and runs no script."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from oneflower.files import replace_file
from oneflower.journal import TrainingState
from oneflower.journal.events import SettingRow
from oneflower.monitor.html import panels
from oneflower.monitor.html.document import card, document
from oneflower.monitor.html.markup import Html, code, day, el, join, note, table
from oneflower.monitor.state.safety import Inspector, Safety, told
from oneflower.monitor.text.lines import NOT_KEPT, called, ending

# A hostile client can be left out in every round of a long training; the journal holds them all.
MOST_LEFT_OUT = 200
MOST_MOMENTS = 40
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
        Those of this training, for a journal that does not tell them.
    safety : Safety | None
        What was found in the checkpoint folder; None takes what the journal tells.
    """
    parts = [
        el("div", el("h1", panels.title(view)), panels.headline(view), el("p", _when(view)), class_="intro"),
        el("div", *_cards(view, list(settings), safety or told(view)), class_="grid"),
    ]
    return document(
        title=f"{panels.title(view)} · oneflower report",
        content=join(parts),
        head=POLICY,
        footer=Html("Written by oneflower from the training's journal."),
    )


def write_report(path: Path, view: TrainingState, settings: Iterable[SettingRow] = ()) -> None:
    """Write the page whole: a reader sees the old or the new one, also beside another who writes it."""
    replace_file(path, render_report(view, settings, safety=Inspector().look(view)).encode(), mode=0o666)


def _cards(view: TrainingState, settings: Sequence[SettingRow], safety: Safety) -> list[Html]:
    tiles = el("div", panels.tiles(view, safety, view.last_time), class_="wide")
    shown = panels.settings(view) if view.settings or not settings else _settings(settings)
    return [
        tiles,
        card("accuracy", "Accuracy", panels.accuracy(view)),
        card("loss", "Loss", panels.loss(view)),
        card("attendance", "Clients in each round", panels.attendance(view)),
        card("model", "Final model", _model(view)),
        card("timeline", "What happened", panels.timeline(view, most=MOST_MOMENTS), style="wide"),
        card("clients", "Clients", panels.clients(view), style="wide"),
        card("left-out", "Clients left out", _left_out(view), style="wide"),
        card("checkpoints", "Checkpoints", panels.checkpoints(view, safety), style="wide"),
        card("rounds", "Rounds", panels.rounds(view), style="wide"),
        card("settings", "Settings", shown, style="wide"),
    ]


def _when(view: TrainingState) -> str:
    if not view.first_time or not view.last_time:
        return ""
    return f"{day(view.first_time)} to {day(view.last_time)}"


def _model(view: TrainingState) -> Html:
    finish = view.finish
    if finish is None:
        return note(view.failure.words if view.failure else "The training has not finished.")
    rows = [("Round", ending(finish))]
    rows += [("SHA-256 of the model", code(finish.sha256 or "not told"))]
    rows += [("File", code(finish.path or NOT_KEPT))]
    return table("Final model", ("What", "Value"), rows)


def _left_out(view: TrainingState) -> Html:
    hidden = len(view.left_out) - MOST_LEFT_OUT
    rows = [
        (str(left.number), code(called(view, left.client)), left.outcome, left.reason)
        for left in view.left_out[-MOST_LEFT_OUT:]
    ]
    shown = table("Clients left out", ("Round", "Client", "How", "Reason"), rows)
    return join([note(f"{hidden} earlier ones are in the journal.") if hidden > 0 else None, shown])


def _settings(settings: Iterable[SettingRow]) -> Html:
    rows = [(code(row.variable), code(row.value), row.source) for row in settings]
    return table("Settings", ("Variable", "Value", "From"), rows)
