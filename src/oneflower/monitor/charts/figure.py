"""The curves of several trainings as one SVG file, with its own size and colours: for a page or a paper."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from oneflower.journal import TrainingState
from oneflower.monitor.charts.picture import LINE_STYLES, Curves, Points, summary, usable
from oneflower.monitor.charts.scale import Scale, axis, round_ticks
from oneflower.monitor.html.markup import Html, el, join
from oneflower.quality import Family, primary

WIDTH, HEIGHT, GAP = 460, 300, 40
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 34, 34
ROW_HEIGHT, ROW_WIDTH = 20, 230
# A file that others embed cannot know whether their page is dark: one set of colours that both carry.
STYLE: Final = """
text { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: #6b7785; }
.title { font-weight: 600; font-size: 13px; }
.grid { stroke: #8b97a5; stroke-opacity: .3; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.s0 { stroke: #2f7fd6; }
.s1 { stroke: #d9640f; stroke-dasharray: 8 4; }
.s2 { stroke: #1f9d57; stroke-dasharray: 2 4; }
.s3 { stroke: #8a5be0; stroke-dasharray: 12 3 2 3; }
.s4 { stroke: #d13b86; stroke-dasharray: 16 5; }
.s5 { stroke: #1897a3; stroke-dasharray: 5 2; }
"""


def figure(trainings: Mapping[str, TrainingState]) -> str:
    """Return quality and loss of the trainings, side by side, with one legend."""
    panels = [
        picture(trainings, Family.QUALITY, "Accuracy by round"),
        picture(trainings, Family.LOSS, "Loss by round"),
    ]
    rows = -(-len(trainings) // 4)
    width, height = 2 * WIDTH + GAP, HEIGHT + ROW_HEIGHT * rows + 10
    words = "; ".join(
        summary(each.title, {n: p for n, found in each.lines.items() if (p := usable(found))})
        for each in panels
    )
    drawn = [
        el("g", *_panel(each, list(trainings)), transform=f"translate({index * (WIDTH + GAP)} 0)")
        for index, each in enumerate(panels)
    ]
    return el(
        "svg",
        el("title", words),
        el("style", Html(STYLE)),
        *drawn,
        *_legend(list(trainings)),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
    )


def picture(trainings: Mapping[str, TrainingState], family: Family, title: str) -> Curves:
    """Return the most telling measure of a family of every training, over the same rounds."""
    lines = {name: points(view, family) for name, view in trainings.items()}
    numbers = [number for found in lines.values() for number, _ in found]
    return Curves(title=title, lines=lines, first=min(numbers, default=1), last=max(numbers, default=2))


def points(view: TrainingState, family: Family) -> Points:
    """Return the values of a training's most telling measure of a family."""
    name = primary(view.measures(), family)
    if name is None:
        return []
    return [(n, r.metrics[name]) for n, r in sorted(view.rounds.items()) if name in r.metrics]


def _panel(curves: Curves, names: Sequence[str]) -> Iterator[Html]:
    yield el("text", curves.title, class_="title", x=LEFT, y=18)
    lines = {name: usable(points) for name, points in curves.lines.items()}
    values = [value for points in lines.values() for _, value in points]
    if not values:
        yield el("text", "no round has measured it", x=LEFT, y=HEIGHT / 2)
        return
    laid = axis(values)
    scale = Scale(first=curves.first, last=curves.last, axis=laid)
    for place, words in laid.labels:
        y = _down(scale.height(place))
        yield el("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y)
        yield el("text", words, x=LEFT - 8, y=y + 4, text_anchor="end")
    for number in round_ticks(curves.first, curves.last):
        yield el("text", str(number), x=_x(scale, number), y=HEIGHT - 14, text_anchor="middle")
    for name, points in lines.items():
        if points:
            yield el("polyline", class_=f"line {_style(names, name)}", points=_path(scale, points))


def _path(scale: Scale, points: Points) -> str:
    return " ".join(f"{_x(scale, number)},{_y(scale, value)}" for number, value in points)


def _legend(names: Sequence[str]) -> Iterator[Html]:
    for index, name in enumerate(names):
        x, y = LEFT + ROW_WIDTH * (index % 4), HEIGHT + ROW_HEIGHT * (index // 4) + 10
        line = el("line", class_=f"line {_style(names, name)}", x1=x, x2=x + 28, y1=y - 4, y2=y - 4)
        yield join([line, el("text", name, x=x + 36, y=y)])


def _style(names: Sequence[str], name: str) -> str:
    return f"s{list(names).index(name) % LINE_STYLES}"


def _x(scale: Scale, number: float) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * scale.x(number), 1)


def _y(scale: Scale, value: float) -> float:
    return _down(scale.y(value))


def _down(fraction: float) -> float:
    return round(TOP + (HEIGHT - TOP - BOTTOM) * fraction, 1)
