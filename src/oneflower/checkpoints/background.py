"""Write checkpoints in a background thread, so that the round loop does not wait for the disk."""

import threading
from collections.abc import Callable
from typing import Final, Self

from oneflower.checkpoints.model import Checkpoint, Saved
from oneflower.checkpoints.store import CheckpointStore

START_S: Final = 1.0


class BackgroundWriter:
    """Saves checkpoints in a separate thread, one at a time.

    The arrays are not copied. The caller must not change them in place after `submit`; every aggregation
    creates new arrays.

    Parameters
    ----------
    store : CheckpointStore
        Open for writing, without any other writer.
    on_saved : Callable[[Saved], None]
        Called in the writer's thread after each commit.
    on_failed : Callable[[int, Exception], None]
        Called in the writer's thread with the round and the error; the training continues.
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
        self._begun = threading.Event()

    def submit(self, checkpoint: Checkpoint) -> None:
        """Start writing a checkpoint, after the previous one is written."""
        self.wait()
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._save, args=(checkpoint,), name="checkpoint-writer")
        self._thread.start()

    def wait(self) -> None:
        """Wait until no checkpoint is being written."""
        if self._thread is not None:
            # Ctrl-C may come while it starts: then it is on its way, or never will be.
            if self._thread.is_alive() or self._begun.wait(START_S):
                self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()

    def _save(self, checkpoint: Checkpoint) -> None:
        """Save and report the result. Every error is reported: it must not vanish with its thread."""
        self._begun.set()
        try:
            saved = self._store.save(checkpoint)
        except Exception as error:  # noqa: BLE001 - reported to the caller, who logs it and continues
            self._on_failed(checkpoint.round, error)
        else:
            self._on_saved(saved)
