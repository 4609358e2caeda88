"""A training's state that a thread keeps up to date with its journal, and how the reading goes."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from oneflower.errors import StateError
from oneflower.journal import Entry, Follower, TrainingState, is_left
from oneflower.journal.state import interrupted
from oneflower.monitor.state.safety import note_lost_files

log = logging.getLogger(__name__)

# A picture of half a journal would be wrong, and its counters would jump: who asks waits, at most so long.
READ_TIMEOUT_S: Final = 10.0
UNREAD: Final = "it is still being read"


class Following:
    """Follows one journal from its start; `with` starts and ends its thread.

    Parameters
    ----------
    journal : Path
        It need not exist yet.
    heard : callable
        Gets each block of events that was folded.
    """

    def __init__(self, journal: Path, *, heard: Callable[[list[Entry]], object] = len) -> None:
        self._journal = journal
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self._heard = heard
        self._follower = Follower(journal)
        self._beginnings = 0
        self._is_read = threading.Event()
        self._training = TrainingState()
        self._thread = threading.Thread(target=self._fold, name="fold", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop.set()
        self._thread.join()

    @property
    def state(self) -> object:
        """What differs as soon as there is something new."""
        known = self._beginnings, self._training.events, self._follower.trouble, self._is_read.is_set()
        return *known, is_left(self._journal)

    def is_read(self, *, timeout_s: float = READ_TIMEOUT_S) -> bool:
        """Whether all that the journal holds is known; waits for it."""
        return self._is_read.wait(timeout_s)

    def require_read(self) -> None:
        """Wait for the journal; StateError where nothing is known of the training yet."""
        if not self.is_read():
            raise self._unread()

    def known(self) -> TrainingState:
        """Return what is known; to be called with the lock held.

        Where the journal has not been read to its end since it was begun, that is nothing but the reason.
        """
        whole = self._whole()
        return TrainingState(trouble=self._follower.trouble or UNREAD) if whole is None else whole

    @contextmanager
    def view(self) -> Iterator[TrainingState]:
        """Hold the training still while it is read.

        Raises
        ------
        StateError
            The journal has not been read to its end: nothing is known of the training yet.
        """
        deadline = time.monotonic() + READ_TIMEOUT_S
        while self.is_read(timeout_s=deadline - time.monotonic()):
            with self.lock:
                whole = self._whole()  # None where another journal was begun since
                if whole is not None:
                    yield whole
                    return
        raise self._unread()

    def _whole(self) -> TrainingState | None:
        """Return the training, or None where its journal has not been read to its end since it was begun."""
        if not self._is_read.is_set():
            return None
        self._training.trouble = self._follower.trouble
        note_lost_files(self._training)
        return interrupted(self._training) if is_left(self._journal) else self._training

    def _unread(self) -> StateError:
        trouble = self._follower.trouble or UNREAD
        return StateError(f"the journal is not known yet ({trouble}): ask again in a moment")

    def _fold(self) -> None:
        for block in self._follower.blocks(self.stop, self._is_read):
            with self.lock:
                if self._follower.beginnings != self._beginnings:
                    self._beginnings, self._training = self._follower.beginnings, TrainingState()
                for entry in block:
                    self._take(entry)
            self._heard(block)
        self._is_read.set()  # nobody waits for a thread that has ended

    def _take(self, entry: Entry) -> None:
        """Reduce one entry; a defect of ours is logged, and the thread continues with the next."""
        try:
            self._training.take(entry)
        except Exception:
            log.exception("event not reduced event=%s", entry.event)
