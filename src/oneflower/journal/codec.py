"""Convert between lines and entries. Reading never fails: what cannot be read is an entry that says so."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from oneflower.bounded_json import Bounds, require_bounds
from oneflower.journal.events import JOURNAL_SCHEMA, BrokenEvent, Entry, Event, RoundCompleted, UnknownEvent
from oneflower.journal.forms import FORMS, UnknownCodeError, metrics_record
from oneflower.journal.migration import FIRST_SCHEMA, migrated
from oneflower.journal.values import FieldError, shown, text

YEARS: Final = range(1970, 2200)
"""Further away, arithmetic with time zones leaves what a datetime can hold."""
_MOST_SHOWN: Final = 200
_MOST_OF_A_FIELD: Final = 4096
_MOST_BROKEN: Final = 100
# An object with an event and a time is longer.
_SHORTEST: Final = 24
LINE: Final = Bounds(most_bytes=64 << 20)
"""An event has some thousand values at most; earlier releases wrote texts of any length."""
_DECODER: Final = json.JSONDecoder()


def entries_of(whole: bytes) -> list[Entry]:
    """Return the entries of whole lines, which are decoded together: a journal may hold a million of them."""
    short, newlines = 0, whole.count(b"\n")
    if newlines > _MOST_BROKEN and newlines * _SHORTEST > len(whole):  # never in a journal of ours
        rows = whole.split(b"\n")
        whole = b"\n".join(row for row in rows if len(row) >= _SHORTEST)
        short = sum(0 < len(row) < _SHORTEST for row in rows)
    try:
        entries = [entry_of_line(row) for row in whole.decode().split("\n") if row]
    except UnicodeDecodeError:
        entries = [_entry_of_bytes(row) for row in whole.split(b"\n") if row]
    return _merged(entries, short)


def _merged(entries: list[Entry], short: int) -> list[Entry]:
    """Return the entries with the broken ones beyond some as one: any number of short lines takes memory."""
    broken = [entry for entry in entries if entry.event.__class__ is BrokenEvent]
    more = len(broken) - _MOST_BROKEN
    if more > 0:
        left = set(map(id, broken[_MOST_BROKEN:]))
        entries = [entry for entry in entries if id(entry) not in left]
    lines = max(more, 0) + short
    if lines:
        entries.append(Entry(None, BrokenEvent(line="", why="no events, as others beside them", lines=lines)))
    return entries


def _entry_of_bytes(row: bytes) -> Entry:
    try:
        return entry_of_line(row.decode())
    except UnicodeDecodeError:
        return _broken(row.decode(errors="replace"), "not UTF-8")


def entry_of_line(line: str) -> Entry:
    """Read one line."""
    try:
        require_bounds(line, LINE)
    except ValueError as error:
        return _broken(line, str(error))
    try:
        # Half the time of `json.loads`, which takes white space around an object, too.
        record, end = _DECODER.raw_decode(line) if line[0] == "{" else (None, -1)
        if end != len(line):
            record = json.loads(line)
    except (ValueError, RecursionError, MemoryError, OverflowError):
        return _broken(line, "not JSON; perhaps a line that a crash cut short")
    return entry_of(record, line)


def entry_of(record: Any, line: str = "") -> Entry:
    """Read one line's JSON object."""
    try:
        schema = record.get("v", FIRST_SCHEMA)
        if schema == JOURNAL_SCHEMA:
            return _entry(record, JOURNAL_SCHEMA)
        if schema == FIRST_SCHEMA:
            return _entry(migrated(record), FIRST_SCHEMA)
        return _later(record, schema)
    except UnknownCodeError:
        return _unknown(record)
    except (AttributeError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        return _broken(line or shown(record), _why(record, error))


def _entry(record: Mapping[str, Any], schema: int) -> Entry:
    time = _time(record["time"])
    name, run, process = record["event"], record.get("run"), record.get("process", "")
    if run is not None:
        run = _run(run)
    form = FORMS.get(name)
    if form is None:
        event: Event = UnknownEvent(kind=text(name), fields=_kept(record))
        return Entry(time=time, event=event, run=run, process=text(process), schema=schema)
    return Entry(time, form.event(record), run, text(process), schema)


def _time(value: Any) -> datetime:
    """Return a time in UTC; one without a zone is taken for UTC."""
    time = datetime.fromisoformat(value)
    if time.tzinfo is not UTC:
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    if time.year not in YEARS:
        raise FieldError(f"time {shown(value)}: expected a year of this age")
    return time


def _run(value: Any) -> int:
    """Return Flower's id of a run, which is a random number of 64 bits."""
    if type(value) is int and 0 <= value < 2**64:
        return value
    raise FieldError(f"run {shown(value)}: expected a whole number from 0 to 2^64")


def _later(record: Mapping[str, Any], schema: Any) -> Entry:
    """Return a line of a schema that only a later version knows."""
    if type(schema) is not int or schema < JOURNAL_SCHEMA:
        raise FieldError(f"v {shown(schema)}: expected a journal schema from 1 on")
    return _unknown(record)


def _unknown(record: Mapping[str, Any]) -> Entry:
    run = record.get("run")
    return Entry(
        time=_time(record["time"]),
        event=UnknownEvent(kind=text(record["event"]), fields=_kept(record)),
        run=None if run is None else _run(run),
        schema=record.get("v", FIRST_SCHEMA),
    )


def _kept(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of an event that only a later version knows: the beginning of a large field."""
    texts = {key: json.dumps(value) for key, value in record.items()}
    return {
        key: value if len(texts[key]) <= _MOST_OF_A_FIELD else f"{texts[key][:_MOST_OF_A_FIELD]}..."
        for key, value in record.items()
    }


def _broken(line: str, why: str) -> Entry:
    return Entry(time=None, event=BrokenEvent(line=line[:_MOST_SHOWN], why=why))


def _why(record: Any, error: Exception) -> str:
    """Say what is wrong with a line's object."""
    if not isinstance(record, dict) or not isinstance(record.get("event"), str):
        return "not an event: expected an object with event and time"
    name = record["event"]
    form = FORMS.get(name)
    missing = [key for key in form.required if record.get(key) is None] if form else []
    if missing:
        return f"{name} without {', '.join(missing)}"
    if "time" not in record:
        return f"{name} without time"
    for field in form.fields if form else ():
        try:
            if field.key in record:
                field.read(record[field.key])
        except FieldError as found:
            return f"{name} with {field.key} {found}"
    return f"{name}: {error}"


def record_of(entry: Entry) -> dict[str, Any]:
    """Return an entry as the JSON object of its line; ValueError where a field is not what it must be."""
    event = entry.event
    form = FORMS.get(event.tag)
    if form is None or type(event) is not form.cls or entry.time is None:
        raise FieldError(f"{type(event).__name__} is read, and never written")
    owner: dict[str, Any] = {} if entry.run is None else {"run": _run(entry.run)}
    if entry.process:
        owner["process"] = text(entry.process)
    record: dict[str, Any] = {
        "v": JOURNAL_SCHEMA,
        "time": entry.time.isoformat(),
        "event": event.tag,
        **owner,
    }
    for attribute, key, _, write in form.fields:
        try:
            record[key] = write(getattr(event, attribute))
        except FieldError as error:
            raise FieldError(f"{event.tag} with {key} {error}") from None
    if isinstance(event, RoundCompleted):
        record |= metrics_record(event.metrics)
    return record


def line_of(entry: Entry) -> bytes:
    """Return an entry as its line; ValueError where a field is not what it must be."""
    line = json.dumps(record_of(entry), ensure_ascii=False, allow_nan=False)
    if not line.isprintable():
        line = "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)
    return line.encode(errors="replace") + b"\n"
