"""Read a journal from its start, or follow it while the training writes."""

import json
import os
import threading
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from oneflower.journal.writer import old_file

POLL_S: Final = 0.2
_MOST_OLD_FILES: Final = 100
_BLOCK_BYTES: Final = 256 * 1024
_DECODER: Final = json.JSONDecoder()

Block = list[dict[str, Any]]


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Yield every event from the oldest rotated file on; a torn or foreign line is left out."""
    for file in [*_old_files(path), path]:
        for block in _file_blocks(file):
            yield from block


def read_backwards(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the same events, the newest first: what concerns the last rounds is found without reading all."""
    for file in [path, *reversed(_old_files(path))]:
        try:
            with file.open("rb") as lines:
                yield from _from_the_end(lines)
        except FileNotFoundError:
            continue


def _from_the_end(lines: BinaryIO) -> Iterator[dict[str, Any]]:
    begin, pending = lines.seek(0, os.SEEK_END), b""
    while begin:
        end, begin = begin, max(0, begin - _BLOCK_BYTES)
        lines.seek(begin)
        piece = lines.read(end - begin) + pending
        pending, whole = piece.split(b"\n", 1) if begin and b"\n" in piece else (piece, b"")
        yield from reversed(_events(whole))
    yield from reversed(_events(pending))


def follow(path: Path, stop: threading.Event, *, poll_s: float = POLL_S) -> Iterator[dict[str, Any]]:
    """Yield what the journal holds, then each event as it is written, until `stop` is set.

    The journal need not exist yet. What was written before `stop` was set is still yielded.
    """
    for block in follow_blocks(path, stop, threading.Event(), poll_s=poll_s):
        yield from block


def follow_blocks(
    path: Path, stop: threading.Event, at_end: threading.Event, *, poll_s: float = POLL_S
) -> Iterator[Block]:
    """Yield the same events, those together that are read together; a block may be empty.

    `at_end` is set when what was there at the start has been yielded.
    """
    for file in _old_files(path):
        yield from _file_blocks(file)
    while True:
        stopped = stop.is_set()
        try:
            with path.open("rb") as lines:
                rotated = yield from _follow_file(lines, path, stop, poll_s, at_end)
        except FileNotFoundError:
            at_end.set()
            if stopped:
                return
            stop.wait(poll_s)
        else:
            if not rotated:
                return


def _old_files(path: Path) -> list[Path]:
    ages = [age for age in range(1, _MOST_OLD_FILES) if old_file(path, age).exists()]
    return [old_file(path, age) for age in reversed(ages)]


def _follow_file(
    lines: BinaryIO, path: Path, stop: threading.Event, poll_s: float, at_end: threading.Event
) -> Generator[Block, None, bool]:
    """Yield the events of one file; return True when it was rotated away, False when stopped."""
    pending = b""
    while True:
        stopped, rotated = stop.is_set(), not _same_file(lines, path)
        pending = yield from _to_the_end(lines, pending)
        if stopped or rotated:
            return rotated
        at_end.set()
        stop.wait(poll_s)


def _same_file(lines: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lines.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _file_blocks(file: Path) -> Iterator[Block]:
    try:
        with file.open("rb") as lines:
            rest = yield from _to_the_end(lines, b"")
    except FileNotFoundError:
        return
    yield _events(rest)


def _to_the_end(lines: BinaryIO, pending: bytes) -> Generator[Block, None, bytes]:
    """Yield the events of the whole lines that are there; return the piece of a line after them."""
    while piece := lines.read(_BLOCK_BYTES):
        whole, _, pending = (pending + piece).rpartition(b"\n")
        yield _events(whole)
    return pending


def _events(whole: bytes) -> Block:
    """Return the events of whole lines, which are decoded together: a journal may hold a million of them."""
    try:
        rows: Sequence[str | bytes] = whole.decode().split("\n")
    except UnicodeDecodeError:
        rows = whole.split(b"\n")  # only the lines that are no UTF-8 are lost
    records = map(_record, rows)
    return [each for each in records if isinstance(each, dict) and isinstance(each.get("event"), str)]


def _record(line: str | bytes) -> Any:
    """Parse one line; None for one that is no JSON."""
    try:
        if isinstance(line, str) and line.startswith("{"):
            record, end = _DECODER.raw_decode(line)  # half the time of `json.loads`
            if end == len(line):
                return record
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
