"""The live page: which panel stands where, and the parts that change while a training goes on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from oneflower.codes import text
from oneflower.journal import TrainingState
from oneflower.monitor.html import panels
from oneflower.monitor.html.document import asset, card, digest, document
from oneflower.monitor.html.markup import Html, el, join
from oneflower.monitor.state.safety import Safety

# The page shows the newest rounds in numbers; the report shows them all.
MOST_ROUNDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A page's parts at one moment, by their ids in the document."""

    version: str
    title: str
    now: str
    sections: Mapping[str, Html]


def render(view: TrainingState, safety: Safety, now: datetime, version: str) -> Rendered:
    """Render every part."""
    sections = {
        "headline": join([el("h1", panels.title(view)), panels.headline(view)]),
        "attention": panels.attention(view, safety, now),
        "doing": panels.doing(view),
        "tiles": panels.tiles(view, safety, now),
        "accuracy": panels.accuracy(view),
        "loss": panels.loss(view),
        "attendance": panels.attendance(view),
        "timeline": panels.timeline(view),
        "clients": panels.clients(view),
        "checkpoints": panels.checkpoints(view, safety),
        "rounds": panels.rounds(view, most=MOST_ROUNDS),
        "settings": panels.settings(view),
    }
    done = f"{view.done}/{view.total} " if view.total else ""
    return Rendered(
        version=version,
        title=f"{done}{text(view.phase)} · oneflower",
        now=now.astimezone(UTC).isoformat(timespec="milliseconds"),
        sections=sections,
    )


def build() -> str:
    """Return what tells two versions of the page apart: a page of another one loads itself anew."""
    return digest(asset("page.html") + asset("style.css") + asset("page.js"))


def live_page(rendered: Rendered, *, theme: str = "") -> str:
    """Return the document that a browser gets first: complete, and alive from then on."""
    return document(
        title=rendered.title,
        content=_content(rendered.sections),
        tools=_tools(theme),
        footer=_footer(),
        script=Html(f'<script src="assets/page.js?v={build()}" defer></script>\n'),
        theme=theme,
        body={"data-have": rendered.version, "data-now": rendered.now, "data-build": build()},
    )


def _content(parts: Mapping[str, Html]) -> Html:
    def place(name: str, heading: str, style: str = "") -> Html:
        return card(name, heading, parts[name], style=style)

    cards = [
        place("doing", "Now"),
        place("attention", "Needs attention"),
        el("div", parts["tiles"], id="tiles", class_="wide"),
        place("accuracy", "Accuracy"),
        place("loss", "Loss"),
        place("attendance", "Clients in each round"),
        place("timeline", "What happened"),
        place("clients", "Clients", "wide"),
        place("checkpoints", "Checkpoints: is the work safe?", "wide"),
        _folded("rounds", "Rounds in numbers", parts),
        _folded("settings", "Settings", parts),
    ]
    return join(
        [el("div", parts["headline"], id="headline", class_="intro"), el("div", *cards, class_="grid")]
    )


def _folded(name: str, heading: str, parts: Mapping[str, Html]) -> Html:
    inner = el("details", el("summary", heading), el("div", parts[name], id=name))
    return el("section", inner, class_="card wide rows", aria_label=heading)


def _tools(theme: str) -> Html:
    status = el("span", "Connecting", id="link", class_="link", role="status")
    button = el("button", f"Theme: {theme or 'auto'}", id="theme", type="button", hidden=True)
    return el("div", status, button, class_="tools")


def _footer() -> Html:
    return join(
        [
            el("a", "Report of this moment, one file", href="report"),
            el("a", "The same as JSON", href="report.json"),
            el("a", "Metrics for Prometheus", href="metrics"),
        ],
        " ",
    )
