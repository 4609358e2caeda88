"""The page at the end of a training: one file that opens without a network and runs no script."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path, PurePath
from string import Template

from oneflower.monitor.chart import Points, line_chart
from oneflower.monitor.history import History
from oneflower.monitor.lines import duration, printable, size
from oneflower.monitor.measures import LOSS, QUALITY, family

TIME_FORMAT = "%Y-%m-%d %H:%M:%S UTC"
# How the page calls the places where a metric was measured.
PLACES = {"central": "server", "evaluate": "clients", "train": "training"}
# A hostile client can be left out in every round of a long training; the journal holds them all.
MOST_LEFT_OUT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """A setting as the report shows it: secrets are masked before they come here."""

    variable: str
    value: str
    source: str


def render_report(history: History, settings: Iterable[SettingRow] = ()) -> str:
    """Return the page as HTML. Every text from outside (clients, paths, settings) is escaped here."""
    template = Template(files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    finished = history.finish is not None
    return template.substitute(
        title=_text(f"{history.app or 'Training'}: {history.strategy or 'federated training'}"),
        state="Finished." if finished else "Not finished.",
        state_class="finished" if finished else "open",
        when=_text(_when(history)),
        tiles=_tiles(history),
        loss=line_chart("Loss by round", _series(history, LOSS)),
        accuracy=line_chart("Accuracy by round", _series(history, QUALITY)),
        model=_model(history),
        rounds=_rounds(history),
        left_out=_left_out(history),
        checkpoints=_checkpoints(history),
        settings=_table(
            ("Variable", "Value", "From"),
            [(_code(s.variable), _code(s.value), _text(s.source)) for s in settings],
        ),
    )


def write_report(path: Path, history: History, settings: Iterable[SettingRow] = ()) -> None:
    """Write the page beside its place and rename it: a reader sees the old or the new one, whole."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(render_report(history, settings), encoding="utf-8")
    temporary.replace(path)


def _series(history: History, wanted: str) -> dict[str, Points]:
    return {
        _place(name): [
            (number, each.metrics[name])
            for number, each in sorted(history.rounds.items())
            if name in each.metrics
        ]
        for name in history.metric_names()
        if family(name) == wanted
    }


def _when(history: History) -> str:
    if not history.first_time or not history.last_time:
        return ""
    began, ended = (time.strftime(TIME_FORMAT) for time in (history.first_time, history.last_time))
    return f"{began} to {ended}"


def _tiles(history: History) -> str:
    seconds = sum(result.seconds for result in history.rounds.values())
    tiles = [("Rounds", f"{history.done} of {history.total}")]
    tiles += [(name.capitalize(), f"{value:.4f}") for name, value in history.headline(history.done).items()]
    tiles += [("Time in rounds", duration(seconds))]
    if history.rounds:
        tiles += [("Updates in the last round", str(history.rounds[history.done].valid))]
    if history.resumed_after:
        tiles += [("Resumed after round", ", ".join(map(str, history.resumed_after)))]
    return "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in tiles)


def _model(history: History) -> str:
    finish = history.finish
    if finish is None:
        return f'<p class="none">{_text(history.failure or "The training has not finished.")}</p>'
    rows = [("SHA-256 of the model", _code(str(finish.get("sha256") or "not told")))]
    rows += [("File", _code(str(finish.get("path") or "none: FL_CHECKPOINT_ENABLED is NO")))]
    parameters = ", ".join(f"{name} {value}" for name, value in history.parameters.items())
    rows += [("Strategy", _text(f"{history.strategy} {f'({parameters})' if parameters else ''}"))]
    return _table((), rows)


def _rounds(history: History) -> str:
    names = history.metric_names()
    rows = [
        (
            str(number),
            str(result.valid),
            f"{result.seconds:.1f}",
            *(f"{result.metrics[name]:.4f}" if name in result.metrics else "" for name in names),
        )
        for number, result in sorted(history.rounds.items())
    ]
    return _table(("Round", "Updates", "Seconds", *map(_place, names)), rows)


def _left_out(history: History) -> str:
    rows = [(str(left.number), _code(left.client), _text(left.reason)) for left in history.left_out]
    hidden = len(rows) - MOST_LEFT_OUT
    note = f'<p class="none">{hidden} earlier ones are in the journal.</p>' if hidden > 0 else ""
    rows = rows[-MOST_LEFT_OUT:]
    return note + _table(("Round", "Client", "Reason"), rows)


def _checkpoints(history: History) -> str:
    rows = [
        (str(number), _code(PurePath(saved.file).name), size(saved.size_bytes), _code(saved.sha256))
        for number, saved in sorted(history.checkpoints.items())
    ]
    return _table(("Round", "File", "Size", "SHA-256"), rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Build a table; the cells are HTML already, the heads are text."""
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    if not body:
        return '<p class="none">None.</p>'
    head = "".join(f"<th>{_text(name)}</th>" for name in heads)
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"


def _place(name: str) -> str:
    """Return ``server: loss`` for ``central loss``."""
    origin, _, metric = name.partition(" ")
    return f"{PLACES[origin]}: {metric}"


def _text(value: str) -> str:
    return escape(printable(value))


def _code(value: str) -> str:
    return f"<code>{_text(value)}</code>"
