"""Read a journal from its start, or follow it while the training writes."""

import json
import os
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from oneflower.journal.writer import old_file

POLL_S: Final = 0.2
_MOST_OLD_FILES: Final = 100


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Yield every event from the oldest rotated file on; a torn or foreign line is left out."""
    for file in [*_old_files(path), path]:
        yield from _file_events(file)


def follow(path: Path, stop: threading.Event, *, poll_s: float = POLL_S) -> Iterator[dict[str, Any]]:
    """Yield what the journal holds, then each event as it is written, until `stop` is set.

    The journal need not exist yet. What was written before `stop` was set is still yielded.
    """
    for file in _old_files(path):
        yield from _file_events(file)
    while True:
        stopped = stop.is_set()
        try:
            with path.open("rb") as lines:
                rotated = yield from _follow_file(lines, path, stop, poll_s)
        except FileNotFoundError:
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
    lines: BinaryIO, path: Path, stop: threading.Event, poll_s: float
) -> Generator[dict[str, Any], None, bool]:
    """Yield the events of one file; return True when it was rotated away, False when stopped."""
    pending = b""
    while True:
        stopped, rotated = stop.is_set(), not _same_file(lines, path)
        while piece := lines.readline():
            pending += piece
            if pending.endswith(b"\n"):
                yield from _parse(pending)
                pending = b""
        if stopped or rotated:
            return rotated
        stop.wait(poll_s)


def _same_file(lines: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lines.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _file_events(file: Path) -> Iterator[dict[str, Any]]:
    try:
        with file.open("rb") as lines:
            for line in lines:
                yield from _parse(line)
    except FileNotFoundError:
        return


def _parse(line: bytes) -> Iterator[dict[str, Any]]:
    try:
        record = json.loads(line)
    except ValueError:
        return
    if isinstance(record, dict) and isinstance(record.get("event"), str):
        yield record
