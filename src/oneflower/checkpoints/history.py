"""The metrics of a training as an append-only file: a chain of lines, of which each manifest names one.

A line holds the metrics since its predecessor, and a SHA-256 over the predecessor's SHA-256 and its own text.
So the last line verifies all before it. A line whose predecessor is not the line above it gives in ``after``
the byte where its predecessor ends: after a rollback to an earlier round all lines stay in place.
"""

import hashlib
import io
import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Final

from oneflower.bounded_json import Bounds, parse_json, values_at_most
from oneflower.checkpoints.metrics import check_metrics, from_json, to_json
from oneflower.checkpoints.model import Metrics
from oneflower.checkpoints.names import HISTORY
from oneflower.checkpoints.portions import weigh, without_lists
from oneflower.errors import AppError

LINE: Final = Bounds(most_bytes=32 << 20, most_values=1_000_000, most_depth=8)
"""A line has the metrics of some rounds. More are divided into several lines when they are written."""
MOST_VALUES: Final = 4_000_000
"""Numbers that are read, and values of lists that are kept: of more lists the newest."""
MOST_LINES: Final = 500_000
LARGEST: Final = 256 << 20
_LINE: Final = re.compile(rb'(.*), "sha256": "([0-9a-f]{64})"\}', re.DOTALL)
# A long list of numbers: releases without bounds wrote lines with millions of values.
_LONG_LIST: Final = re.compile(rb'\[[-+0-9.eE, "NaInfty]{4096,}+\]')
_LEFT_OUT: Final = b"null"
_SKIPPED_AT_ONCE: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a line ends, and its SHA-256. Byte 0 is the position before the first line."""

    size_bytes: int = 0
    sha256: str = ""


BEGINNING: Final = Position()


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the file: where it begins (``begin``), and where its predecessor ends (``before``).

    ``problem`` says what is wrong with it. ``whole``: this line and all its predecessors are valid.
    """

    begin: int
    before: int
    sha256: str
    round: int
    metrics: Metrics
    problem: str | None
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The metrics so far. With a ``problem`` in their file, some or all are missing."""

    metrics: dict[str, dict[str, dict[str, Any]]]
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The file's lines by the byte where they end. ``ended``: the last one is complete.

    ``numbers`` counts those of all lines, ``lists_left_out`` the values of old lists that are not kept.
    ``unread`` says why the file was not read at all.
    """

    lines: Mapping[int, Line]
    size_bytes: int
    ended: bool
    numbers: int = 0
    lists_left_out: int = 0
    unread: str | None = None

    def problem(self, position: Position) -> str | None:
        """Return what is wrong with the lines up to a position; None if all are valid."""
        if position == BEGINNING:
            return None
        if self.unread is not None:
            return self.unread
        line = self.lines.get(position.size_bytes)
        if line is None or line.sha256 != position.sha256:
            return (
                f"{HISTORY} has {self.size_bytes} bytes, and no line that ends at byte {position.size_bytes} "
                f"with SHA-256 {position.sha256}"
            )
        if line.whole:
            return None
        bad = next(line for line in self._back_from(position.size_bytes) if line.problem)
        return f"the line of {HISTORY} at byte {bad.begin} {bad.problem}"

    def until(self, position: Position) -> Reading:
        """Return the metrics up to a position: those of its line and of every valid predecessor."""
        problem = self.problem(position)
        line = self.lines.get(position.size_bytes)
        if line is None or line.sha256 != position.sha256:
            return Reading(metrics={}, problem=problem)
        lines = [line for line in self._back_from(position.size_bytes) if not line.problem]
        return Reading(metrics=merged(line.metrics for line in reversed(lines)), problem=problem)

    def recorded_after(self, position: Position, number: int) -> tuple[Position, list[Metrics]]:
        """Return metrics of round `number` recorded after its manifest was written, and where they end."""
        found = []
        for end, line in self.lines.items():
            follows = line.before == position.size_bytes and line.round == number
            if follows and line.metrics and not line.problem:
                found.append(line.metrics)
                position = Position(size_bytes=end, sha256=line.sha256)
        return position, found

    def _back_from(self, end: int) -> Iterator[Line]:
        while (line := self.lines.get(end)) is not None:
            yield line
            end = line.before


def parse_history(data: bytes) -> History:
    """Parse the content of a file."""
    return stream_history(io.BytesIO(data))


def stream_history(file: BinaryIO) -> History:
    """Parse the file line by line; bytes after the last newline are not a line.

    The memory is that of a line, of MOST_VALUES numbers and of MOST_VALUES values in lists. Raises ValueError
    where it has more bytes, lines or numbers than are read, and for nothing else that it may hold.
    """
    lines: dict[int, Line] = {}
    with_lists: deque[tuple[int, int]] = deque()
    begin = numbers = listed = left_out = 0
    while text := file.readline(LINE.most_bytes + 1):
        end = begin + len(text)
        is_long = len(text) > LINE.most_bytes
        while not text.endswith(b"\n") and (text := file.readline(_SKIPPED_AT_ONCE)):
            end += len(text)
            if end > LARGEST:
                break
        if end > LARGEST:
            raise ValueError(f"it has more than {LARGEST} bytes")
        if not text.endswith(b"\n"):
            return History(lines=lines, size_bytes=end, ended=False, numbers=numbers, lists_left_out=left_out)
        line = _bad(begin, "", "is too long") if is_long else _parsed(text[:-1], begin, lines)
        lines[end], begin = line, end
        weight = weigh(line.metrics)
        numbers += weight.numbers
        if weight.listed:
            with_lists.append((end, weight.listed))
            listed += weight.listed
        while listed > MOST_VALUES:
            oldest, values = with_lists.popleft()
            lines[oldest] = replace(lines[oldest], metrics=without_lists(lines[oldest].metrics))
            listed, left_out = listed - values, left_out + values
        if numbers > MOST_VALUES or len(lines) > MOST_LINES:
            raise ValueError(f"it has more than {MOST_VALUES} numbers or {MOST_LINES} lines")
    return History(lines=lines, size_bytes=begin, ended=True, numbers=numbers, lists_left_out=left_out)


EMPTY: Final = parse_history(b"")


def render_line(number: int, metrics: Metrics, *, before: Position, begin: int) -> tuple[bytes, Position]:
    """Return the bytes of a line that begins at byte `begin` and follows `before`, and where it ends."""
    after = {} if before.size_bytes == begin else {"after": before.size_bytes}
    content = {**after, "round": number, "metrics": to_json(metrics)}
    body = json.dumps(content, ensure_ascii=True, allow_nan=False)[:-1].encode()
    sha256 = _chained(before.sha256, body)
    line = body + f', "sha256": "{sha256}"}}\n'.encode()
    return line, Position(size_bytes=begin + len(line), sha256=sha256)


def line_problem(line: bytes, *, before: Position, begin: int) -> str | None:
    """Return why a line at byte `begin` that follows `before` cannot be read; None if it can."""
    if not line.endswith(b"\n"):
        return "is cut short"
    last = Line(begin=0, before=0, sha256=before.sha256, round=0, metrics={}, problem=None, whole=True)
    return _parsed(line[:-1], begin, {before.size_bytes: last} if before != BEGINNING else {}).problem


def merged(parts: Iterator[Metrics] | list[Metrics]) -> dict[str, dict[str, dict[str, Any]]]:
    """Merge metrics; for the same round and phase the later ones replace the earlier ones."""
    whole: dict[str, dict[str, dict[str, Any]]] = {}
    for part in parts:
        for phase, rounds in part.items():
            whole.setdefault(phase, {}).update({number: dict(values) for number, values in rounds.items()})
    return whole


def _parsed(text: bytes, begin: int, lines: Mapping[int, Line]) -> Line:
    match = _LINE.fullmatch(text)
    if match is None:
        return _bad(begin, "", "is not a line of a history")
    body, sha256 = match[1], match[2].decode()
    try:
        content = _content(body + b"}")
        before, number = content.get("after", begin), content["round"]
        metrics = from_json(content["metrics"])
        check_metrics(metrics)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, AppError) as error:
        return _bad(begin, sha256, f"cannot be read: {error!r:.200}")
    if type(before) is not int or type(number) is not int:
        return _bad(begin, sha256, "has a round or a place that is no whole number")
    previous = lines.get(before)
    if previous is None and before != 0:
        return _bad(begin, sha256, f"follows byte {before}, where no line ends")
    if _chained(previous.sha256 if previous else "", body) != sha256:
        return _bad(begin, sha256, "is not as it was written: its SHA-256 differs")
    whole = previous is None or previous.whole
    return Line(
        begin=begin, before=before, sha256=sha256, round=number, metrics=metrics, problem=None, whole=whole
    )


def _content(text: bytes) -> Any:
    """Parse a line. One with too many values, as releases before wrote, is read without its long lists."""
    if values_at_most(text) <= LINE.most_values:
        return parse_json(text, LINE)
    content = parse_json(_LONG_LIST.sub(_LEFT_OUT, text), LINE)
    for rounds in content["metrics"].values():
        for number, named in rounds.items():
            rounds[number] = {name: value for name, value in named.items() if value is not None}
    return content


def _bad(begin: int, sha256: str, problem: str) -> Line:
    """Return an invalid line; the line above it is assumed to be its predecessor."""
    return Line(begin=begin, before=begin, sha256=sha256, round=0, metrics={}, problem=problem, whole=False)


def _chained(before: str, body: bytes) -> str:
    return hashlib.sha256(before.encode() + body).hexdigest()
