"""Read a journal from its start, or follow it while the training writes."""

import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from oneflower.errors import StateError
from oneflower.files import open_to_read
from oneflower.journal.codec import entries_of
from oneflower.journal.events import Entry
from oneflower.journal.writer import MAX_BYTES, old_file

Block = list[Entry]

POLL_S: Final = 0.2
# A disk that is away for a moment, or a folder whose owner is changed, is back within seconds.
PATIENCE_S: Final = 5.0
_MOST_OLD_FILES: Final = 100
_BLOCK_BYTES: Final = 256 * 1024
# A file that holds a whole line of ours is begun at this size.
_LONGEST_LINE: Final = MAX_BYTES
_HEAD_BYTES: Final = 256
_TAIL_BYTES: Final = 64
# A rotation takes a fraction of a millisecond.
_ATTEMPTS: Final = 100


def read_journal(path: Path) -> Iterator[Entry]:
    """Yield every entry from the oldest rotated file on; a torn or foreign line is a `BrokenEvent`.

    Raises
    ------
    StateError
        A file that is there cannot be read: nothing may be concluded from the rest.
    """
    try:
        with ExitStack() as stack:
            for lines in _all_opened(stack, path):
                for block in _Place().read_on(lines, last=True):
                    yield from block
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> StateError:
    return StateError(
        f"the journal {path} cannot be read: {error.strerror or error}. Check the file, its folder and "
        "its disk, and try again; nothing is lost"
    )


def read_backwards(path: Path) -> Iterator[Entry]:
    """Yield the same entries, the newest first: what concerns the last rounds is found without reading all.

    Raises
    ------
    StateError
        A file that is there cannot be read.
    """
    try:
        with ExitStack() as stack:
            for lines in reversed(_all_opened(stack, path)):
                yield from _from_the_end(lines)
    except OSError as error:
        raise _unreadable(path, error) from error


def _from_the_end(lines: BinaryIO) -> Iterator[Entry]:
    begin, pending = lines.seek(0, os.SEEK_END), b""
    while begin:
        end, begin = begin, max(0, begin - _BLOCK_BYTES)
        lines.seek(begin)
        piece = lines.read(end - begin) + pending
        pending, whole = piece.split(b"\n", 1) if begin and b"\n" in piece else (piece, b"")
        yield from reversed(entries_of(whole))
        if len(pending) > _LONGEST_LINE:
            yield from reversed(entries_of(pending))
            pending = b""
    yield from reversed(entries_of(pending))


def read_patiently(path: Path, *, patience_s: float = PATIENCE_S) -> list[Entry]:
    """Return every entry; a journal that cannot be read just now is tried again for so long.

    Raises
    ------
    StateError
        It still cannot be read.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return list(read_journal(path))
        except StateError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)


def has_journal(path: Path) -> bool:
    """Whether there is a journal, or its rotated part; one that cannot be looked at may be there."""
    return any(_may_exist(file) for file in (path, old_file(path, 1)))


def _may_exist(file: Path) -> bool:
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # no permission, a disk that is away: reading it says so
    return True


def follow(path: Path, stop: threading.Event, *, poll_s: float = POLL_S) -> Iterator[Entry]:
    """Yield what the journal holds, then each entry as it is written, until `stop` is set.

    The journal need not exist yet, and may be unreadable for a while: reading goes on where it was. What was
    written before `stop` was set is still yielded, where it can be read then.
    """
    for block in follow_blocks(path, stop, threading.Event(), poll_s=poll_s):
        yield from block


def follow_blocks(
    path: Path, stop: threading.Event, at_end: threading.Event, *, poll_s: float = POLL_S
) -> Iterator[Block]:
    """Yield the same entries, those together that are read together; a block may be empty.

    `at_end` is set when what was there at the start has been yielded.
    """
    return Follower(path).blocks(stop, at_end, poll_s=poll_s)


class Follower:
    """Follows one journal across rotations, and across errors of its disk.

    ``trouble`` says why the last attempt could not read; empty where it could, or where there is no journal.
    ``beginnings`` counts how often reading has begun at the journal's start: once, and again where what was
    read is not in its files any more, because they were cut, replaced or taken away. A state that was
    reduced from them begins from the start then, too.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = _Place()
        self.trouble = ""
        self.beginnings = 0

    def blocks(
        self, stop: threading.Event, at_end: threading.Event, *, poll_s: float = POLL_S
    ) -> Iterator[Block]:
        """See `follow_blocks`; `at_end` is cleared while reading begins from the start."""
        while True:
            stopped = stop.is_set()
            yield from self._read_all(at_end)
            if stopped:
                return
            if not self.trouble:
                at_end.set()
            stop.wait(poll_s)

    def _read_all(self, at_end: threading.Event) -> Iterator[Block]:
        """Yield what is new in the file that was read last, and in those that were begun after it."""
        trouble = ""
        try:
            with ExitStack() as stack:
                for lines in self._unread(stack, at_end):
                    if not self._place.is_in(lines):
                        self._place = _Place()
                    # A file that was rotated away grows no more: what it ends with is no line in the making.
                    yield from self._place.read_on(lines, last=not _is_named(lines, self._path))
        except OSError as error:
            # EIO, ESTALE, EMFILE, EACCES pass; the next attempt goes on from the same place.
            trouble = error.strerror or str(error)
        self.trouble = trouble

    def _unread(self, stack: ExitStack, at_end: threading.Event) -> list[BinaryIO]:
        """Open the file where reading stands and the newer ones; all where it is not there any more."""
        newest = _opened(stack, self._path)
        if newest is not None and self._place.is_in(newest):
            return [newest]
        files = _all_opened(stack, self._path)
        at = next((index for index, lines in enumerate(files) if self._place.is_in(lines)), None)
        if at is not None:
            return files[at:]
        if files and self._place.is_empty and self.beginnings:
            return files  # nothing but empty files was there until now
        if files:
            at_end.clear()
            self.beginnings += 1
        return files


@dataclass(slots=True)
class _Place:
    """How far one file has been read: its identity, its first bytes, and the end of its last whole line.

    ``tail`` are the bytes before that end: a file that was cut and has grown again holds others there.
    """

    device: int = -1
    inode: int = -1
    head: bytes = b""
    tail: bytes = b""
    offset: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing was read so far."""
        return self.offset == 0

    def is_in(self, lines: BinaryIO) -> bool:
        """Whether it is of this file: an inode may be used again for another."""
        file = lines.fileno()
        found = os.fstat(file)
        if (found.st_dev, found.st_ino) != (self.device, self.inode) or found.st_size < self.offset:
            return False
        before = self.offset - len(self.tail)
        return (os.pread(file, len(self.head), 0), os.pread(file, len(self.tail), before)) == (
            self.head,
            self.tail,
        )

    def read_on(self, lines: BinaryIO, *, last: bool) -> Iterator[Block]:
        """Yield the entries of the whole lines from here on; of the piece of a line after them if `last`."""
        found = os.fstat(lines.fileno())
        self.device, self.inode = found.st_dev, found.st_ino
        lines.seek(self.offset)
        pending, size = list[bytes](), 0
        while piece := lines.read(_BLOCK_BYTES):
            pending.append(piece)
            size += len(piece)
            if b"\n" not in piece and size <= _LONGEST_LINE:
                continue
            whole, newline, rest = b"".join(pending).rpartition(b"\n")
            if not newline:
                whole, rest = rest, b""  # no line of ours: what is there is taken for one, and skipped
            self._passed(whole + newline)
            yield entries_of(whole)
            pending, size = [rest], len(rest)
        if last:
            whole = b"".join(pending)
            self._passed(whole)
            yield entries_of(whole)

    def _passed(self, whole: bytes) -> None:
        self.offset += len(whole)
        self.head = (self.head + whole)[:_HEAD_BYTES] if len(self.head) < _HEAD_BYTES else self.head
        self.tail = (self.tail + whole[-_TAIL_BYTES:])[-_TAIL_BYTES:]


def _all_opened(stack: ExitStack, path: Path) -> list[BinaryIO]:
    """Open every file of a journal, the oldest first.

    All are opened before one is read, and their names looked at again: a rotation in between gives the names
    to others, and one file would be left out.
    """
    for _ in range(_ATTEMPTS):
        with ExitStack() as trial:
            names = [*_old_files(path), path]
            opened = [(name, lines) for name in names if (lines := _opened(trial, name)) is not None]
            if names == [*_old_files(path), path] and all(_is_named(lines, name) for name, lines in opened):
                stack.push(trial.pop_all())
                return [lines for _, lines in opened]
    raise OSError(errno.EBUSY, "its files are renamed all the time")


def _is_named(lines: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lines.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _opened(stack: ExitStack, file: Path) -> BinaryIO | None:
    with suppress(FileNotFoundError):
        return stack.enter_context(open_to_read(file))
    return None


def _old_files(path: Path) -> list[Path]:
    ages = [age for age in range(1, _MOST_OLD_FILES) if old_file(path, age).exists()]
    return [old_file(path, age) for age in reversed(ages)]
