"""A training as it is now: its journal is followed, a thread proves its checkpoints, readers get pages."""

import itertools
import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from oneflower.journal import Entry, TrainingState
from oneflower.journal.events import CheckpointSaved, TrainingResumed, TrainingStarted
from oneflower.monitor.html.page import Rendered, render
from oneflower.monitor.state.following import Following
from oneflower.monitor.state.safety import Inspector, Safety

log = logging.getLogger(__name__)

# How often the checkpoint folder is looked at.
INSPECT_EVERY_S: Final = 2.0
CHECKPOINT_EVENTS: Final = (CheckpointSaved, TrainingResumed, TrainingStarted)
# Without news the page is rendered anew so often: silence itself is news.
AGE_S: Final = 15.0
# Readers that were away for a moment get only what changed since one of so many last pages.
REMEMBERED: Final = 8


class Live:
    """Follows one journal from its start; `with` starts and ends its threads.

    Parameters
    ----------
    journal : Path
        It need not exist yet.
    folder : Path | None
        The checkpoint folder, for the time before the journal names one.
    """

    def __init__(
        self,
        journal: Path,
        *,
        folder: Path | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.journal = journal
        self.following = Following(journal, heard=self._heard)
        self.stop = self.following.stop
        self._look_now = threading.Event()
        self._now = now
        self._inspector = Inspector(folder)
        self._boot = secrets.token_hex(4)
        self._safety = Safety()
        self._inspections = 0
        self._renders = itertools.count(1)
        self._pages: OrderedDict[str, Rendered] = OrderedDict()
        self._rendered: tuple[object, Rendered] | None = None
        self._thread = threading.Thread(target=self._inspect, name="inspect", daemon=True)

    def __enter__(self) -> Self:
        self.following.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop.set()
        self._look_now.set()
        self._thread.join()
        self.following.__exit__(kind, error, trace)

    @property
    def state(self) -> object:
        """What differs as soon as there is something new to show."""
        return self.following.state, self._inspections, int(self._now().timestamp() / AGE_S)

    @contextmanager
    def view(self) -> Iterator[tuple[TrainingState, Safety]]:
        """Hold the training still while it is read; StateError where its journal is not known yet."""
        with self.following.view() as view:
            yield view, self._safety

    def page(self) -> Rendered:
        """Return the page of this moment; many readers share one rendering."""
        self.following.is_read()
        with self.following.lock:
            state = self.state
            if self._rendered is None or self._rendered[0] != state:
                version = f"{self._boot}-{next(self._renders)}"
                rendered = render(self.following.known(), self._safety, self._now(), version)
                self._rendered = state, rendered
                self._pages[version] = rendered
                if len(self._pages) > REMEMBERED:
                    self._pages.popitem(last=False)
            return self._rendered[1]

    def remembered(self, version: str) -> Rendered | None:
        """Return an earlier page, if it is one of the last."""
        return self._pages.get(version)

    def _heard(self, block: list[Entry]) -> None:
        if any(isinstance(entry.event, CHECKPOINT_EVENTS) for entry in block):
            self._look_now.set()

    def _inspect(self) -> None:
        while not self.stop.is_set():
            self._look_now.clear()
            try:
                # What is there is told at once; proving a large model takes its time.
                for prove in (False, True):
                    self._publish(self._look(prove=prove))
            except Exception:
                log.exception("the checkpoint folder could not be looked at")
            self._look_now.wait(INSPECT_EVERY_S)

    def _look(self, *, prove: bool) -> Safety:
        """Look with a copy of what is told: the fold goes on meanwhile."""
        with self.following.lock:
            told = TrainingState(checkpoints=dict(self.following.known().checkpoints))
        return self._inspector.look(told, prove=prove)

    def _publish(self, found: Safety) -> None:
        if found != self._safety or not self._inspections:
            self._safety = found
            self._inspections += 1
