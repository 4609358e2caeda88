"""One HTML document around the panels: the live page, the report and the comparison share it."""

import hashlib
from functools import cache
from importlib.resources import files
from string import Template
from urllib.parse import quote

from oneflower.monitor.html.markup import Html, el, join, text

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><g fill="#d9640f">'
    '<circle cx="12" cy="5" r="4"/><circle cx="19" cy="10" r="4"/><circle cx="16" cy="18" r="4"/>'
    '<circle cx="8" cy="18" r="4"/><circle cx="5" cy="10" r="4"/></g>'
    '<circle fill="#0b5cb5" cx="12" cy="12" r="4"/></svg>'
)


@cache
def asset(name: str) -> str:
    """Return a file that comes with the package."""
    return files("oneflower.monitor.html").joinpath("assets", name).read_text(encoding="utf-8")


def digest(content: str) -> str:
    """Return what changes when a file changes."""
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def card(name: str, heading: str, content: str, *, style: str = "") -> Html:
    """Put a panel into a card; ``name`` is the id of the part that the live page changes."""
    inner = el("div", content, id=name)
    return el("section", el("h2", heading), inner, class_=f"card {style}".strip())


def document(  # noqa: PLR0913 - one parameter a place in the page
    *,
    title: str,
    content: str,
    tools: str = "",
    footer: str = "",
    head: str = "",
    script: str = "",
    theme: str = "",
    body: dict[str, str] | None = None,
) -> str:
    """Return a whole page. Everything but ``title`` and the values of ``body`` must be `Html` already."""
    attributes = (Html(f' {name}="{text(value)}"') for name, value in (body or {}).items())
    return Template(asset("page.html")).substitute(
        title=text(title),
        content=content,
        tools=tools,
        footer=footer,
        head=head,
        script=script,
        style=asset("style.css"),
        icon=quote(ICON),
        theme=Html(f' data-theme="{text(theme)}"') if theme in ("light", "dark") else "",
        body=join(attributes),
    )
