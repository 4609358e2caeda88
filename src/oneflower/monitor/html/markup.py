"""HTML from Python in which text cannot become markup: whatever is not `Html` is escaped."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape

from oneflower.foreign_text import printable

VOID = frozenset({"br", "circle", "input", "line", "link", "meta", "path", "polyline", "rect"})

Attribute = str | int | float | bool | None


class Html(str):
    """Markup that is known to be safe."""

    __slots__ = ()


def text(value: str) -> Html:
    """Escape a text, control characters too."""
    return value if isinstance(value, Html) else Html(escape(printable(value)))


def join(parts: Iterable[str | None], between: str = "") -> Html:
    """Join markup and texts; None is left out."""
    return Html(text(between).join(text(part) for part in parts if part is not None))


def el(tag: str, *children: str | None, **attributes: Attribute) -> Html:
    """Build an element.

    An attribute's name loses a trailing underscore, and its other underscores become hyphens. None and False
    leave it out, True gives it an empty value.
    """
    opening = f"<{tag}{''.join(_attribute(name, value) for name, value in attributes.items())}"
    if tag in VOID and not children:
        return Html(f"{opening}/>")
    return Html(f"{opening}>{join(children)}</{tag}>")


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    spelled = name.rstrip("_").replace("_", "-")
    return f' {spelled}="{text("" if value is True else str(value))}"'


def code(value: str) -> Html:
    """Show a name, path or digest."""
    return el("code", value)


def note(value: str) -> Html:
    """Show what stands where there is nothing to show."""
    return el("p", value, class_="none")


def moment(time: datetime | None) -> Html:
    """Show a time of day; the live page turns it into how long ago that is."""
    if time is None:
        return Html("")
    utc = time.astimezone(UTC)
    exact = utc.isoformat(timespec="milliseconds")
    return el("time", utc.strftime("%H:%M:%S"), datetime=exact, title=day(time))


def day(time: datetime) -> str:
    """Return a date and time in UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], *, class_: str | None = None
) -> Html:
    """Build a table with a caption for those who cannot see its place; without rows it says so.

    On a narrow screen a table with a class of its own is stacked, each cell under its head, by the style; any
    other scrolls sideways, by key too.
    """
    body = [
        el(
            "tr",
            el("th", row[0], scope="row", data_head=heads[0]),
            *(el("td", cell, data_head=head) for head, cell in zip(heads[1:], row[1:], strict=True)),
        )
        for row in rows
    ]
    if not body:
        return note("None.")
    whole = el(
        "table",
        el("caption", caption, class_="unseen"),
        el("thead", el("tr", *(el("th", head, scope="col") for head in heads))),
        el("tbody", *body),
        class_=class_,
    )
    if class_ is not None:
        return whole
    return el("div", whole, class_="scroll", role="region", aria_label=caption, tabindex="0")
