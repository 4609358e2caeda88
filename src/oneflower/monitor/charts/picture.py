"""Curves by round as inline SVG: no script, no font, no network; colours come from the page's style.

Places are percentages, so that lines stretch with the page while texts and dots keep their size on a phone.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from oneflower.monitor.charts.marks import Kind, Mark, shown_kinds
from oneflower.monitor.charts.scale import LARGEST, Scale, axis, round_ticks
from oneflower.monitor.html.markup import Html, el, join, note

# The page's style knows this many colours and dashes of lines.
LINE_STYLES: Final = 6
# With more points a line has no dots: they would be one thick smear.
MOST_DOTS: Final = 40
# Inside the stretched picture a line's points are whole numbers up to this.
GRAIN: Final = 2000

Points = Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """What one picture shows. ``lost`` are pieces of the same lines that a crash took back."""

    title: str
    lines: Mapping[str, Points]
    first: int
    last: int
    lost: Mapping[str, Sequence[Points]] = field(default_factory=dict)
    marks: Sequence[Mark] = ()


def draw(curves: Curves, *, empty: str = "No round has measured it yet.") -> Html:
    """Draw the lines over the rounds; values that are not finite, or beyond LARGEST, are left out."""
    lines = {name: usable(points) for name, points in curves.lines.items()}
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        return note(empty)
    lost = {name: [usable(piece) for piece in pieces] for name, pieces in curves.lost.items()}
    values = [value for points in lines.values() for _, value in points]
    values += [value for pieces in lost.values() for piece in pieces for _, value in piece]
    laid = axis(values)
    scale = Scale(first=curves.first - 0.5, last=curves.last + 0.5, axis=laid)
    styles = {name: f"s{index % LINE_STYLES}" for index, name in enumerate(lines)}
    inside = [
        *_taken_back(scale, curves.marks, lost),
        *(
            _line(scale, f"lost {styles.get(n, 's0')}", piece)
            for n, pieces in lost.items()
            for piece in pieces
        ),
        *(_line(scale, f"line {styles[name]}", points) for name, points in lines.items()),
    ]
    return el(
        "figure",
        frame(
            scale,
            [(scale.height(place), text) for place, text in laid.labels],
            join([stretched(inside), *_dots(scale, lines, styles), *_signs(scale, curves.marks)]),
            summary(curves.title, lines),
            (curves.first, curves.last),
        ),
        legend(styles, shown_kinds(curves.marks), lost=any(lost.values())),
        class_="chart",
        **readable(lines, curves),
    )


def usable(points: Points) -> list[tuple[int, float]]:
    """Leave out what no picture can show."""
    return [(number, value) for number, value in points if abs(value) <= LARGEST]


def frame(
    scale: Scale, labels: Sequence[tuple[float, str]], content: str, label: str, rounds: tuple[int, int]
) -> Html:
    """Put axes around a picture; ``labels`` are those of the values, each with how far down it lies."""
    heights = [(percent(down), text) for down, text in labels]
    grid = [el("line", class_="grid-line", x1="0", x2="100%", y1=y, y2=y) for y, _ in heights]
    values = [el("text", text, x="100%", y=y, dx="-8", dy="4", class_="tick end") for y, text in heights]
    numbers = [
        el("text", str(number), x=percent(scale.x(number)), y="14", class_="tick middle")
        for number in round_ticks(*rounds)
    ]
    return el(
        "div",
        el("svg", *values, class_="values", aria_hidden="true"),
        el(
            "div",
            el("svg", *grid, content, class_="canvas", role="img", aria_label=label),
            el(
                "div", el("span", class_="hair"), el("output", class_="readout"), class_="reader", hidden=True
            ),
            class_="area",
        ),
        el("svg", *numbers, class_="numbers", aria_hidden="true"),
        class_="plot",
    )


def stretched(shapes: Iterable[str]) -> Html:
    """Wrap shapes that the browser may stretch without thickening their lines."""
    box = f"0 0 {GRAIN} {GRAIN}"
    return el("svg", *shapes, viewBox=box, preserveAspectRatio="none", width="100%", height="100%")


def percent(fraction: float) -> str:
    """Return a place as SVG wants it."""
    return f"{100 * fraction:.2f}%"


def grain(fraction: float) -> int:
    """Return a place inside the stretched picture."""
    return round(GRAIN * fraction)


def summary(title: str, lines: Mapping[str, Points]) -> str:
    """Say in words what the picture shows, for those who cannot see it."""
    parts = []
    for name, points in lines.items():
        (first, start), (last, end) = points[0], points[-1]
        parts.append(f"{name} from {start:.4g} in round {first} to {end:.4g} in round {last}")
    return f"{title}: {'; '.join(parts)}"


def legend(styles: Mapping[str, str], kinds: Sequence[Kind], *, lost: bool = False) -> Html:
    """Name the lines and the signs."""
    items = [el("li", _sample(f"line {style}"), name) for name, style in styles.items()]
    if lost:
        items.append(el("li", _sample("lost s0"), "lost, trained again"))
    items += [el("li", el("b", kind.sign, class_=f"sign {kind.style}"), kind.name) for kind in kinds]
    return el("ul", *items, class_="legend")


def _sample(style: str) -> Html:
    line = el("line", class_=style, x1="1", x2="25", y1="5", y2="5")
    return el("svg", line, viewBox="0 0 26 10", aria_hidden="true")


def _line(scale: Scale, style: str, points: Points) -> Html:
    path = " ".join(f"{grain(scale.x(number))},{grain(scale.y(value))}" for number, value in points)
    return el("polyline", class_=style, points=path)


def _dots(scale: Scale, lines: Mapping[str, Points], styles: Mapping[str, str]) -> Iterator[Html]:
    for name, points in lines.items():
        shown = points if len(points) <= MOST_DOTS else points[-1:]
        for number, value in shown:
            title = el("title", f"{name}, round {number}: {value:.6g}")
            place = {"cx": percent(scale.x(number)), "cy": percent(scale.y(value))}
            yield el("circle", title, class_=f"dot {styles[name]}", r="3", **place)


def _signs(scale: Scale, marks: Iterable[Mark]) -> Iterator[Html]:
    for mark in marks:
        x = percent(scale.x(mark.position))
        yield el(
            "g",
            el("title", "; ".join(mark.texts)),
            el("line", class_="mark", x1=x, x2=x, y1="0", y2="100%"),
            el("text", mark.kind.sign, class_="sign middle", x=x, y="12"),
            class_=mark.kind.style,
        )


def _taken_back(scale: Scale, marks: Iterable[Mark], lost: Mapping[str, Sequence[Points]]) -> Iterator[Html]:
    """Shade what was trained twice: from where a training resumed to the last round that was lost."""
    ends = [piece[-1][0] for pieces in lost.values() for piece in pieces if piece]
    for mark in marks:
        beyond = [end for end in ends if end > mark.position]
        if mark.kind.sign == "↻" and beyond:
            left, right = grain(scale.x(mark.position)), grain(scale.x(min(beyond)))
            yield el("rect", class_="again", x=left, y=0, width=right - left, height=GRAIN)


def readable(lines: Mapping[str, Points], curves: Curves) -> dict[str, str | int]:
    """Return the values as attributes: the page's script reads them out under the pointer or by key."""
    rounds = sorted({number for points in lines.values() for number, _ in points})
    columns = {}
    for name, points in lines.items():
        by_round = dict(points)
        columns[name] = [_short(by_round.get(number)) for number in rounds]
    marked = [[mark.position, "; ".join(mark.texts)] for mark in curves.marks]
    values = {"title": curves.title, "rounds": rounds, "lines": columns, "marks": marked}
    return {
        "data_points": json.dumps(values, separators=(",", ":"), ensure_ascii=False),
        "data_first": curves.first,
        "data_last": curves.last,
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
