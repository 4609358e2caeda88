"""A line chart as inline SVG: no script, no font, no network; colours come from the page's style."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 560, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 14, 34
TICKS = 5
ROUND_LABELS = 10
# The page's style knows this many colours and dashes of lines.
LINE_STYLES = 4

# Beyond it a difference of two values may be infinite; such a loss is no point of a curve any more.
LARGEST = 1e300
SMALLEST = 1e-300

Points = Sequence[tuple[int, float]]


def line_chart(title: str, series: Mapping[str, Points]) -> str:
    """Draw one line a series over the rounds; values that are not finite, or beyond LARGEST, are left out.

    Parameters
    ----------
    title : str
        What is drawn, for those who cannot see it.
    series : Mapping[str, Points]
        ``(round, value)`` points by the name that the legend shows.
    """
    finite = {name: [p for p in points if abs(p[1]) <= LARGEST] for name, points in series.items()}
    drawn = {name: points for name, points in finite.items() if points}
    if not drawn:
        return '<p class="none">No round has measured it.</p>'
    rounds = [number for points in drawn.values() for number, _ in points]
    values = [value for points in drawn.values() for _, value in points]
    scale = _Scale(min(rounds), max(rounds), ticks(min(values), max(values)))
    return "".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
            *scale.axes(),
            *(_line(scale, style, name, points) for style, (name, points) in enumerate(drawn.items())),
            "</svg>",
            _legend(drawn),
        ]
    )


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers that enclose the values, about five of them."""
    if high - low < 1e-12 * max(1.0, abs(high)):
        margin = 0.5 * max(abs(low), abs(high)) or 0.5
        low, high = low - max(margin, SMALLEST), high + max(margin, SMALLEST)
    raw = (high - low) / (TICKS - 1)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


class _Scale:
    """From rounds and values to the picture's coordinates."""

    def __init__(self, first: int, last: int, values: Sequence[float]) -> None:
        self._first, self._last, self._values = first, last, values

    def x(self, number: int) -> float:
        span = max(1, self._last - self._first)
        return LEFT + (WIDTH - LEFT - RIGHT) * (number - self._first) / span

    def y(self, value: float) -> float:
        low, high = self._values[0], self._values[-1]
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    def axes(self) -> Iterator[str]:
        for value in self._values:
            y = f"{self.y(value):.1f}"
            yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
            yield f'<text class="tick" x="{LEFT - 8}" y="{y}" dy="4" text-anchor="end">{value:.4g}</text>'
        every = max(1, math.ceil((self._last - self._first + 1) / ROUND_LABELS))
        for number in range(self._first, self._last + 1, every):
            x = f"{self.x(number):.1f}"
            yield f'<text class="tick" x="{x}" y="{HEIGHT - 14}" text-anchor="middle">{number}</text>'
        yield f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 1}" text-anchor="end">round</text>'


def _line(scale: _Scale, style: int, name: str, points: Points) -> str:
    spots = [(f"{scale.x(number):.1f}", f"{scale.y(value):.1f}") for number, value in points]
    path = " ".join(f"{x},{y}" for x, y in spots)
    kind = f"s{style % LINE_STYLES}"
    dots = "".join(
        f'<circle class="dot {kind}" cx="{x}" cy="{y}" r="3.5">'
        f"<title>{escape(name)}, round {number}: {value:.6g}</title></circle>"
        for (x, y), (number, value) in zip(spots, points, strict=True)
    )
    return f'<polyline class="line {kind}" points="{path}"/>{dots}'


def _legend(series: Mapping[str, Points]) -> str:
    items = "".join(
        f'<li><svg viewBox="0 0 26 10" aria-hidden="true"><line class="line s{style % LINE_STYLES}" '
        f'x1="1" x2="25" y1="5" y2="5"/></svg>{escape(name)}</li>'
        for style, name in enumerate(series)
    )
    return f'<ul class="legend">{items}</ul>'
