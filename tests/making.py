"""Make events and entries for tests: fields that a test does not care about are filled in, times go up."""

import itertools
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import get_args, get_type_hints

from oneflower.codes import LeftOutCode, StallAct, SupervisorState, Task
from oneflower.journal import EVENTS, Entry, read_journal
from oneflower.quality import Metric, Origin

BEGIN = datetime(2026, 3, 1, 10, tzinfo=UTC)
USUAL = {
    "round": 1,
    "rounds": 3,
    "to": 0,
    "clients": 3,
    "valid": 3,
    "attempt": 1,
    "tries": 5,
    "client": "a",
    "name": "node-a",
    "reason": "a reason",
    "connected": 3,
    "needed": 2,
    "changes": ("seed was 1, is 2",),
    "members": (11, 12),
    "records": ("state",),
    "nodes": 3,
    "wanted": 2,
    "exchange": 1,
    "exchanges": 2,
    "messages": 3,
    "role": "supernode-0",
    "done": StallAct.ENDED,
    "state": SupervisorState.TRAINING,
    "settings": (),
    "phase": Task.TRAIN,
    "code": LeftOutCode.OTHER,
}
_seconds = itertools.count()


def event(tag, **fields):
    """Return an event by its name in the journal; metrics may be given by origin, codes as their values."""
    form = EVENTS[tag]
    by_origin = {origin: fields.pop(f"{origin}_metrics", {}) for origin in Origin}
    if any(by_origin.values()):
        fields["metrics"] = metrics(**by_origin)
    for name, hint in get_type_hints(form).items():
        for codes in (hint, *get_args(hint)):
            if isinstance(codes, type) and issubclass(codes, StrEnum) and isinstance(fields.get(name), str):
                fields[name] = codes(fields[name])
    if tag in {"updates_measured", "clients_sampled"}:
        fields.setdefault("clients", ("a",))
    required = {
        name: USUAL[name]
        for name, field in form.__dataclass_fields__.items()
        if name not in fields and field.default is field.default_factory
    }
    return form(**required, **fields)


def entry(tag, *, run=None, at=None, process="", **fields):
    """Return an entry; each is a second later than the one before, unless `at` says when."""
    time = BEGIN + timedelta(seconds=next(_seconds)) if at is None else at
    return Entry(time=time, event=event(tag, **fields), run=run, process=process)


def metrics(**by_origin):
    """Return metrics: `metrics(central={"loss": 0.5})`."""
    return tuple(
        Metric(Origin(origin), name, value)
        for origin, found in by_origin.items()
        for name, value in found.items()
    )


def events_in(journal, *tags):
    """Return the events of a journal, all or those of some names."""
    return [each.event for each in read_journal(journal) if not tags or each.event.tag in tags]


def measured(event, origin):
    """Return by name what a completed round measured at one origin."""
    return {each.name: each.value for each in event.metrics if each.origin == origin}


def measured_rounds(distances, *, rounds=5, **fields):
    """Return the entries of rounds with the distance of each client to the new model."""
    found = []
    for number in range(1, rounds + 1):
        found += [entry("reply_received", round=number, client=client) for client in distances]
        found.append(
            entry(
                "updates_measured",
                round=number,
                clients=tuple(distances),
                distances=tuple(distances.values()),
                **fields,
            )
        )
    return found
