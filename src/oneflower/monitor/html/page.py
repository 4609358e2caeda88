"""The dashboard's page: its panels, and the parts that change while a training runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from oneflower.codes import text
from oneflower.journal import TrainingState
from oneflower.monitor.html.document import asset, digest, document
from oneflower.monitor.html.headline import headline, title
from oneflower.monitor.html.markup import Html, el, join
from oneflower.monitor.html.panel import Page, Shown
from oneflower.monitor.html.panels import panels_of
from oneflower.monitor.state.safety import Safety


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A page's parts at one moment, by their ids in the document."""

    version: str
    title: str
    now: str
    sections: Mapping[str, Html]


def render(view: TrainingState, safety: Safety, now: datetime, version: str) -> Rendered:
    """Render every part."""
    shown = Shown(state=view, safety=safety, now=now)
    sections = {"headline": join([el("h1", title(view)), headline(view)])}
    sections |= {panel.id: panel.render(shown) for panel in panels_of(Page.DASHBOARD)}
    done = f"{view.done}/{view.total} " if view.total else ""
    return Rendered(
        version=version,
        title=f"{done}{text(view.phase)} · oneflower",
        now=now.astimezone(UTC).isoformat(timespec="milliseconds"),
        sections=sections,
    )


def build() -> str:
    """Return what tells two versions of the page apart: a page of another version reloads itself."""
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
    cards = [panel.card(parts[panel.id], Page.DASHBOARD) for panel in panels_of(Page.DASHBOARD)]
    intro = el("div", parts["headline"], id="headline", class_="intro")
    return join([intro, el("div", *cards, class_="grid")])


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
