"""Entries read as dictionaries, until the last reader of those is gone; then this module is deleted."""
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN202

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from oneflower.codes import SupervisorState
from oneflower.journal.codec import record_of
from oneflower.journal.events import BrokenEvent, Entry, UnknownEvent


def _record(entry):
    if isinstance(entry.event, UnknownEvent):
        return dict(entry.event.fields)
    if isinstance(entry.event, BrokenEvent):
        return {"event": "broken"}
    return {key: value for key, value in record_of(entry).items() if value is not None or key == "path"}


def _item(entry, key):
    return _record(entry)[key] if isinstance(key, str) else tuple.__getitem__(entry, key)


Entry.__getitem__ = _item
Entry.get = lambda entry, key, default=None: _record(entry).get(key, default)
Entry.keys = lambda entry: _record(entry).keys()
Entry.items = lambda entry: _record(entry).items()
Entry.__contains__ = lambda entry, key: key in _record(entry)


Event = Any
# A supervisor writes these of its own training, also when it follows no run just then.
SUPERVISION: Final = frozenset({"run_lost", "supervisor_state", "training_gave_up"})
_ENDS: Final = frozenset({SupervisorState.FINISHED, SupervisorState.GIVEN_UP})
_BEGIN: Final = frozenset({"training_started", "training_resumed"})
# These say which run a journal is about.
OWNING: Final = SUPERVISION | _BEGIN | {"run_submitted"}


def run_of(event: Mapping[str, Any]) -> int | None:
    """Return the run that an event belongs to; None for one that names none, as before 0.2."""
    run = event.get("run")
    return run if isinstance(run, int) and not isinstance(run, bool) else None


@dataclass(slots=True)
class Current:
    """The run that a journal is about, as its events go by: ``takes`` each in order.

    A supervised journal is about the run that was submitted last; one without a supervisor about the run that
    began last. An event of another run is another training's: it neither fails nor completes this one.
    """

    run: int | None = None
    supervised: bool = False

    def takes(self, event: Mapping[str, Any]) -> bool:
        """Whether an event belongs to this training; one that names no run does."""
        run, name = run_of(event), event.get("event")
        if name == "run_submitted":
            self.run, self.supervised = run, True
        elif name in SUPERVISION:
            if name == "training_gave_up" or str(event.get("state")) in _ENDS:
                self.supervised = False
            return True
        elif name in _BEGIN and not self.supervised:
            self.run = run
        return run is None or self.run is None or run == self.run


def of_training(events: Iterable[Any]) -> Iterator[Any]:
    """Yield the events of the training that a journal is about; see `Current`."""
    current = Current()
    return (event for event in events if current.takes(event))
