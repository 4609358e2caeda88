"""Read the journal beside the training without waiting for it."""

import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from oneflower.journal.events import Entry
from oneflower.journal.reader import POLL_S, Follower

PATIENCE_S: Final = 5.0
"""How long `finish` waits for a journal that cannot be read just then."""


class JournalTail:
    """Follow a journal in a thread; ``drain`` takes what has come since the last call.

    ``trouble`` says why the journal cannot be read at the moment, or could not be at the end: then what it
    holds is not all known.
    """

    def __init__(self, path: Path, *, patience_s: float = PATIENCE_S) -> None:
        self._entries: queue.SimpleQueue[Entry] = queue.SimpleQueue()
        self._follower = Follower(path)
        self._patience_s = patience_s
        self._stop, self._at_end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="journal", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(patience_s=0.0 if error is not None else self._patience_s)

    @property
    def trouble(self) -> str:
        """Why the journal cannot be read; empty where it can."""
        return self._follower.trouble

    def finish(self, *, patience_s: float | None = None) -> None:
        """Follow no longer; what was written until now is there to be drained, unless there is `trouble`."""
        self._patience_s = self._patience_s if patience_s is None else patience_s
        self._stop.set()
        self._thread.join()

    def _catch_up(self) -> None:
        deadline = time.monotonic() + self._patience_s
        for _ in range(2):  # the first pass may have begun before the call
            self._at_end.clear()
            while self._thread.is_alive() and time.monotonic() < deadline:
                if self._at_end.wait(POLL_S):
                    break

    def drain(self, *, all_written: bool = False) -> Iterator[Entry]:
        """Yield the new entries, oldest first: those that were read so far, or all that are written by now.

        For the second, a journal that cannot be read is waited for, but not for ever.
        """
        if all_written:
            self._catch_up()
        while True:
            try:
                yield self._entries.get_nowait()
            except queue.Empty:
                return

    def _follow(self) -> None:
        self._read()
        deadline = time.monotonic() + self._patience_s
        while self._follower.trouble and time.monotonic() < deadline:
            time.sleep(POLL_S)
            self._read()

    def _read(self) -> None:
        for block in self._follower.blocks(self._stop, self._at_end):
            for entry in block:
                self._entries.put(entry)
