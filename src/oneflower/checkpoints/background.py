"""Write checkpoints beside the training: the round loop hands one over and goes on."""

import threading
from collections.abc import Callable
from typing import Self

from oneflower.checkpoints.model import Checkpoint, Saved
from oneflower.checkpoints.store import CheckpointStore


class BackgroundWriter:
    """Hands checkpoints to a store in a thread of its own, at most one in flight.

    The arrays are not copied: they are a snapshot because nobody changes them in place after `submit`
    (every aggregation makes new arrays).

    Parameters
    ----------
    store : CheckpointStore
        Open for writing, and written by nobody else meanwhile.
    on_saved : Callable[[Saved], None]
        Called in the writer's thread after each commit.
    on_failed : Callable[[int, Exception], None]
        Called in the writer's thread with the round and what went wrong; the training goes on.
    """

    def __init__(
        self,
        store: CheckpointStore,
        *,
        on_saved: Callable[[Saved], None],
        on_failed: Callable[[int, Exception], None],
    ) -> None:
        self._store = store
        self._on_saved = on_saved
        self._on_failed = on_failed
        self._thread: threading.Thread | None = None

    def submit(self, checkpoint: Checkpoint) -> None:
        """Start writing a checkpoint; waits first for the one in flight."""
        self.wait()
        self._thread = threading.Thread(target=self._save, args=(checkpoint,), name="checkpoint-writer")
        self._thread.start()

    def wait(self) -> None:
        """Return when nothing is in flight."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()

    def _save(self, checkpoint: Checkpoint) -> None:
        """Save and report. Whatever fails is reported: an error here must not vanish with its thread."""
        try:
            saved = self._store.save(checkpoint)
        except Exception as error:  # noqa: BLE001 - handed to the caller, who logs it and trains on
            self._on_failed(checkpoint.round, error)
        else:
            self._on_saved(saved)
