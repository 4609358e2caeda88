"""What a save appends to the history: lines that the reader reads, in a file that stays within its bounds.

Metrics never stop a model from being saved. What does not fit is left out, and named.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from oneflower.bounded_json import values_at_most
from oneflower.checkpoints import history
from oneflower.checkpoints.history import BEGINNING, History, Position, render_line
from oneflower.checkpoints.model import Metrics
from oneflower.checkpoints.portions import deciding, names_of, portions, weigh, without_lists
from oneflower.quality import Wanted

# The field `after` is longer than the place where a line is tried.
_AFTER: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What the history holds so far, as its bounds count it."""

    size_bytes: int = 0
    lines: int = 0
    numbers: int = 0

    @classmethod
    def of(cls, found: History) -> Self:
        """Count a history."""
        return cls(size_bytes=found.size_bytes, lines=len(found.lines), numbers=found.numbers)

    def after(self, line: bytes, numbers: int) -> "Room":
        """Return the room with one more line."""
        return Room(
            size_bytes=self.size_bytes + len(line), lines=self.lines + 1, numbers=self.numbers + numbers
        )

    def taken(self, metrics: Metrics, wanted: Wanted) -> Metrics:
        """Return what is still recorded: all, then numbers, then those that decide which round is best.

        A line takes an eighth of the bytes and a quarter of the numbers at most.
        """
        if self.numbers > history.MOST_VALUES // 2 or self.size_bytes > history.LARGEST // 4 * 3:
            return deciding(metrics, wanted)
        return metrics if self.size_bytes <= history.LARGEST // 2 else without_lists(metrics)

    @property
    def within_bounds(self) -> bool:
        """Whether a reader reads that much."""
        return (
            self.size_bytes <= history.LARGEST
            and self.lines <= history.MOST_LINES
            and self.numbers <= history.MOST_VALUES
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line to append: its bytes, where it begins, and the line that it follows."""

    text: bytes
    begin: int
    before: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Lines to append to the history; none if there are no new metrics.

    ``repair`` is written before them and ends a line that a crash cut short. ``begin`` is the size of the
    file before, ``position`` where the last line ends. ``metrics`` includes those of ``left_out``.
    """

    repair: bytes = b""
    lines: tuple[Line, ...] = ()
    begin: int
    position: Position
    room: Room
    metrics: Metrics
    left_out: frozenset[str] = frozenset()

    @property
    def data(self) -> bytes:
        """The bytes to append."""
        return self.repair + b"".join(line.text for line in self.lines) if self.lines else b""


def entry_of(  # noqa: PLR0913 - the metrics, and what they follow
    number: int, metrics: Metrics, *, before: Position, room: Room, ended: bool, wanted: Wanted
) -> Entry:
    """Return what is appended for the metrics of a save of round `number`, after the line at `before`."""
    begin = room.size_bytes
    if not any(metrics.values()):
        return Entry(begin=begin, position=before, room=room, metrics={})
    repair = b"" if ended else b"\n"
    at = Room(size_bytes=begin + len(repair), lines=room.lines + len(repair), numbers=room.numbers)
    lines: list[Line] = []
    left_out: set[str] = set()
    for part in _parts(number, metrics, left_out):
        kept = at.taken(part, wanted)
        left_out |= names_of(part) - names_of(kept)
        text, position = render_line(number, kept, before=before, begin=at.size_bytes)
        then = at.after(text, weigh(kept).numbers)
        if not then.within_bounds:
            left_out |= names_of(part)
            continue
        lines.append(Line(text=text, begin=at.size_bytes, before=before))
        before, at = position, then
    return Entry(
        repair=repair,
        lines=tuple(lines),
        begin=begin,
        position=before,
        room=at if lines else room,
        metrics=metrics,
        left_out=frozenset(left_out),
    )


def _parts(number: int, metrics: Metrics, left_out: set[str]) -> Iterator[Metrics]:
    """Yield all metrics in one part where a line holds them, which is the usual case."""
    text, _ = render_line(number, metrics, before=BEGINNING, begin=0)
    if values_at_most(text) <= history.LINE.most_values and len(text) <= history.LINE.most_bytes - _AFTER:
        yield metrics
        return
    parts, names = portions(metrics, history.LINE)
    left_out |= names
    yield from parts
