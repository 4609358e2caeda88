"""Whose an event is, where several runs write one journal."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from oneflower.codes import SupervisorState
from oneflower.journal.events import (
    Entry,
    Event,
    RunLetGo,
    RunLost,
    RunSubmitted,
    SupervisorMoved,
    TrainingGaveUp,
    TrainingResumed,
    TrainingStarted,
)

SUPERVISION: Final[frozenset[type[Event]]] = frozenset({RunLetGo, RunLost, SupervisorMoved, TrainingGaveUp})
"""Events that a supervisor writes of its own training, also when it follows no run just then."""
BEGINNINGS: Final[frozenset[type[Event]]] = frozenset({TrainingStarted, TrainingResumed})
OWNING: Final = SUPERVISION | BEGINNINGS | {RunSubmitted}
"""Events that decide which run a journal is about."""
ENDS: Final = frozenset({SupervisorState.FINISHED, SupervisorState.GIVEN_UP})


@dataclass(slots=True)
class Current:
    """The run that a journal is about, as its entries go by: ``takes`` each in order.

    A supervised journal is about the run that was submitted last; one without a supervisor about the run that
    began last. An event of another run is another training's: it neither fails nor completes this one.
    """

    run: int | None = None
    supervised: bool = False

    def takes(self, entry: Entry) -> bool:
        """Whether an entry belongs to this training; one that names no run does."""
        kind = type(entry.event)
        if kind in OWNING:
            if kind is RunSubmitted:
                self.run, self.supervised = entry.run, True
            elif kind in SUPERVISION:
                self._supervise(entry.event)
                return True
            elif not self.supervised:
                self.run = entry.run
        return entry.run is None or self.run is None or entry.run == self.run

    def _supervise(self, event: Event) -> None:
        if isinstance(event, RunLetGo | TrainingGaveUp) or (
            isinstance(event, SupervisorMoved) and event.state in ENDS
        ):
            self.supervised = False


def of_training(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the entries of the training that a journal is about; see `Current`."""
    current = Current()
    return (entry for entry in entries if current.takes(entry))
