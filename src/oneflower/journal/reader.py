"""Read a journal from its start, or follow it while the training writes."""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from oneflower.errors import StateError
from oneflower.journal.records import Block, events_of
from oneflower.journal.writer import old_file

POLL_S: Final = 0.2
_MOST_OLD_FILES: Final = 100
_BLOCK_BYTES: Final = 256 * 1024
_HEAD_BYTES: Final = 256


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Yield every event from the oldest rotated file on; a torn or foreign line is left out.

    Raises
    ------
    StateError
        A file that is there cannot be read: nothing may be concluded from the rest.
    """
    try:
        for file in [*_old_files(path), path]:
            with suppress(FileNotFoundError), file.open("rb") as lines:
                for block in _Place().read_on(lines, last=True):
                    yield from block
    except OSError as error:
        raise StateError(
            f"the journal {path} cannot be read: {error.strerror or error}. Check the file, its folder "
            "and its disk, and try again; nothing is lost"
        ) from error


def follow(path: Path, stop: threading.Event, *, poll_s: float = POLL_S) -> Iterator[dict[str, Any]]:
    """Yield what the journal holds, then each event as it is written, until `stop` is set.

    The journal need not exist yet, and may be unreadable for a while: reading goes on where it was. What was
    written before `stop` was set is still yielded, where it can be read then.
    """
    for block in follow_blocks(path, stop, threading.Event(), poll_s=poll_s):
        yield from block


def follow_blocks(
    path: Path, stop: threading.Event, at_end: threading.Event, *, poll_s: float = POLL_S
) -> Iterator[Block]:
    """Yield the same events, those together that are read together; a block may be empty.

    `at_end` is set when what was there at the start has been yielded.
    """
    return Follower(path).blocks(stop, at_end, poll_s=poll_s)


class Follower:
    """Follows one journal across rotations, and across errors of its disk.

    ``trouble`` says why the last attempt could not read; empty where it could, or where there is no journal.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = _Place()
        self.trouble = ""

    def blocks(
        self, stop: threading.Event, at_end: threading.Event, *, poll_s: float = POLL_S
    ) -> Iterator[Block]:
        """See `follow_blocks`."""
        while True:
            stopped = stop.is_set()
            yield from self._read_all()
            if stopped:
                return
            if not self.trouble:
                at_end.set()
            stop.wait(poll_s)

    def _read_all(self) -> Iterator[Block]:
        """Yield what is new in the file that was read last, and in those that were begun after it."""
        self.trouble = ""
        try:
            with ExitStack() as stack:
                for lines, is_newest in self._unread(stack):
                    if not self._place.is_in(lines):
                        self._place = _Place()
                    yield from self._place.read_on(lines, last=not is_newest)
        except OSError as error:
            # EIO, ESTALE, EMFILE, EACCES pass; the next attempt goes on from the same place.
            self.trouble = error.strerror or str(error)

    def _unread(self, stack: ExitStack) -> list[tuple[BinaryIO, bool]]:
        """Open the file where reading stands and the newer ones; all where it is not there any more.

        All are opened before one is read: a rotation meanwhile gives their names to others.
        """
        newest = _opened(stack, self._path)
        if newest is not None and self._place.is_in(newest):
            return [(newest, True)]
        opened = [_opened(stack, file) for file in _old_files(self._path)] + [newest]
        if newest is not None and not os.path.samestat(os.fstat(newest.fileno()), self._path.stat()):
            return []  # rotated this very moment: the next attempt finds all in their order
        found = [lines for lines in opened if lines is not None]
        at = next((index for index, lines in enumerate(found) if self._place.is_in(lines)), 0)
        return [(lines, lines is newest) for lines in found[at:]]


@dataclass(slots=True)
class _Place:
    """How far one file has been read: its identity, its first bytes, and the end of its last whole line."""

    device: int = -1
    inode: int = -1
    head: bytes = b""
    offset: int = 0

    def is_in(self, lines: BinaryIO) -> bool:
        """Whether it is of this file: an inode may be used again for another."""
        found = os.fstat(lines.fileno())
        same = (found.st_dev, found.st_ino) == (self.device, self.inode) and found.st_size >= self.offset
        return same and os.pread(lines.fileno(), len(self.head), 0) == self.head

    def read_on(self, lines: BinaryIO, *, last: bool) -> Iterator[Block]:
        """Yield the events of the whole lines from here on; of the piece of a line after them if `last`."""
        found = os.fstat(lines.fileno())
        self.device, self.inode = found.st_dev, found.st_ino
        lines.seek(self.offset)
        pending = b""
        while piece := lines.read(_BLOCK_BYTES):
            if len(self.head) < _HEAD_BYTES:
                self.head = os.pread(lines.fileno(), _HEAD_BYTES, 0)
            whole, newline, pending = (pending + piece).rpartition(b"\n")
            self.offset += len(whole) + len(newline)
            yield events_of(whole)
        if last:
            yield events_of(pending)


def _opened(stack: ExitStack, file: Path) -> BinaryIO | None:
    with suppress(FileNotFoundError):
        return stack.enter_context(file.open("rb"))
    return None


def _old_files(path: Path) -> list[Path]:
    ages = [age for age in range(1, _MOST_OLD_FILES) if old_file(path, age).exists()]
    return [old_file(path, age) for age in reversed(ages)]
