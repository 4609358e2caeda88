"""Append events to the journal: one JSON object a line, bounded in size, never in the training's way."""

import errno
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from oneflower.files import lock_within, make_private, open_to_write, readers_of
from oneflower.journal.codec import line_of
from oneflower.journal.events import Entry, Event
from oneflower.journal.heartbeat import Heartbeat
from oneflower.journal.rotation import keep_history, set_foreign_aside

log = logging.getLogger(__name__)

JOURNAL_VARIABLE: Final = "ONEFLOWER_JOURNAL"
"""The environment variable by which whoever starts a SuperLink names the journal."""
MAX_BYTES: Final = 32 * 1024 * 1024
OLD_FILES: Final = 3
RETRY_S: Final = 0.2
LAST_WORDS_S: Final = 5.0
"""How long the end of a process waits until its last events are written."""
LOCK_S: Final = 2.0
"""How long another process of the training may hold the lock: a rotation takes a fraction of it."""
MOST_HELD: Final = 10_000
"""How many events are held back while the file cannot be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who writes: a process, told from every other by its start, and the run that it works for, if any.

    Several runs may write one journal; a reader takes each event for its own run's only.
    """

    process: str
    run: int | None = None


def old_file(path: Path, age: int) -> Path:
    """Return the name of a rotated journal; age 1 is the youngest."""
    return path.with_name(f"{path.name}.{age}")


def close_journal(path: Path) -> None:
    """Take a journal and its heartbeats, which an earlier release let others read, from all but its user.

    The group of a folder with the setgid bit may read on.
    """
    with suppress(OSError):
        readers = readers_of(path.parent)
        for pattern in (path.name, f"{path.name}.*", f".{path.name}.*.alive"):
            for file in path.parent.glob(pattern):
                make_private(file, also=readers)


def report_refusal(event: Event, path: Path, error: ValueError) -> None:
    """Log an event that was not written because one of its fields is not what it must be."""
    log.error("event refused event=%s path=%s reason=%s", event.tag, path, error)


class Journal:
    """Append-only journal of one training; several processes may append to one file.

    A journal that cannot be written is logged and never raises: a full disk must not end a training. Its
    events are held back, and written in their order with the first that can be.
    The heartbeat beats with every event, also with one that cannot be written. At `max_bytes` the file is
    renamed to `<name>.1` (and so on up to `old_files`), and another is begun. The file of the next age keeps
    what the overwritten ones had about the rounds.
    """

    def __init__(  # noqa: PLR0913 - three of them are for tests
        self,
        path: Path,
        *,
        owner: Owner | None = None,
        heartbeat: Heartbeat | None = None,
        max_bytes: int = MAX_BYTES,
        old_files: int = OLD_FILES,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.path = path
        self.owner = owner
        self._heartbeat = heartbeat
        self._patience_s = LOCK_S
        self._held: deque[bytes] = deque(maxlen=MOST_HELD)
        self._in_doubt = False
        self._lock = threading.Lock()
        self._max_bytes = max_bytes
        self._old_files = old_files
        self._now = now

    def append(self, event: Event, *, run: int | None = None) -> None:
        """Write one event with the time in UTC and its owner; of another run than the owner's with `run`.

        An event with a field that is not what it must be is a defect of whoever writes it: it is logged as
        an error and not written.
        """
        if self._heartbeat is not None:
            self._heartbeat.beat()
        owner = self.owner or Owner(process="")
        run = owner.run if run is None else run
        try:
            line = line_of(Entry(time=self._now(), event=event, run=run, process=owner.process))
        except ValueError as error:
            report_refusal(event, self.path, error)
            return
        with self._lock:
            self._held.append(line)
            problem = self._write_held()
        if problem is not None:
            log.warning("journal not written event=%s path=%s reason=%s", event.tag, self.path, problem)

    def flush(self, *, patience_s: float = 0.0) -> bool:
        """Write what was held back, trying again for so long; return whether everything is written."""
        deadline = time.monotonic() + patience_s
        while True:
            with self._lock:
                if self._write_held() is None:
                    return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(RETRY_S)

    def _write_held(self) -> OSError | None:
        """Write what is held back, oldest first; return what has stopped that."""
        while self._held:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._write(self._held[0])
            except OSError as error:
                return error
            except BaseException:  # Ctrl-C: nobody knows whether the line is there
                self._in_doubt = True
                raise
            self._in_doubt = False
            self._held.popleft()
        return None

    def _write(self, line: bytes) -> None:
        descriptor = self._open_locked()
        try:
            if self._in_doubt and _is_last(descriptor, line):
                return
            if os.fstat(descriptor).st_size + len(line) > self._max_bytes:
                full, descriptor = descriptor, self._rotate()
                os.close(full)
            _append(descriptor, line)
        finally:
            os.close(descriptor)

    def _open_locked(self) -> int:
        """Open and lock the file of this name now: another process may rotate it in between."""
        while True:
            descriptor = open_to_write(self.path, os.O_RDWR | os.O_APPEND)
            try:
                self._lock_file(descriptor)
                if _still_named(descriptor, self.path):
                    return descriptor
            except BaseException:  # Ctrl-C too: a lock that is left would refuse this process's last events
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _lock_file(self, descriptor: int) -> None:
        """Lock the file; OSError where another holds the lock for long, and from then on at once."""
        patience_s, self._patience_s = self._patience_s, 0.0
        if not lock_within(descriptor, patience_s):
            raise OSError(errno.EWOULDBLOCK, "another process holds the lock of the file")
        self._patience_s = LOCK_S

    def _rotate(self) -> int:
        """Rename the files one age up, while the lock on the newest is held, and open a fresh one.

        Of the oldest, which is then overwritten, the history of the rounds is kept.
        """
        files = {age: old_file(self.path, age) for age in range(1, self._old_files + 2)}
        for file in files.values():
            set_foreign_aside(file)
        oldest = files[self._old_files]
        if oldest.exists():
            keep_history(oldest, files[self._old_files + 1], self._max_bytes)
        for age in range(self._old_files - 1, 0, -1):
            if files[age].exists():
                files[age].rename(files[age + 1])
        self.path.rename(old_file(self.path, 1))
        return self._open_locked()


def _still_named(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _is_last(descriptor: int, line: bytes) -> bool:
    return os.pread(descriptor, len(line), max(0, os.fstat(descriptor).st_size - len(line))) == line


def _append(descriptor: int, line: bytes) -> None:
    """Append a whole line in one write; a line that a crash tore is ended first, so it spoils only itself."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        line = b"\n" + line
    written = os.write(descriptor, line)
    if written < len(line):
        os.ftruncate(descriptor, size)  # it is written again, whole; the lock is held meanwhile
        raise OSError(errno.ENOSPC, "the line was cut short: free space on the disk")
