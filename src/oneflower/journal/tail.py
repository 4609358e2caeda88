"""Read the journal beside the training without waiting for it."""

import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from oneflower.journal.reader import follow

Event = dict[str, Any]


class JournalTail:
    """Follow a journal in a thread; ``drain`` takes what has come since the last call."""

    def __init__(self, path: Path) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, args=(path,), name="journal", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def finish(self) -> None:
        """Follow no longer; what was written until now is there to be drained."""
        self._stop.set()
        self._thread.join()

    def drain(self) -> Iterator[Event]:
        """Yield the new events, oldest first."""
        while True:
            try:
                yield self._events.get_nowait()
            except queue.Empty:
                return

    def _follow(self, path: Path) -> None:
        for event in follow(path, self._stop):
            self._events.put(event)
