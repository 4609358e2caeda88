"""Events as classes and as lines: nothing is lost, nothing half read, nothing wrong written."""

import dataclasses
import json
import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.codes import LeftOutCode, SupervisorState
from oneflower.gpu.readings import Reading
from oneflower.journal import EVENTS, JOURNAL_SCHEMA, BrokenEvent, Entry, Event, UnknownEvent
from oneflower.journal.codec import entries_of, entry_of, entry_of_line, line_of, record_of
from oneflower.journal.events import (
    CheckpointSaved,
    ClientFailed,
    RoundCompleted,
    RoundStarted,
    RunSubmitted,
    SettingRow,
    TrainingFailed,
)
from oneflower.journal.forms import LONGEST_S
from oneflower.kinds import ErrorKind
from oneflower.quality import Metric, Origin

from ..making import BEGIN, entry, event

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.integers(-(2**53), 2**53)
METRICS = st.builds(
    Metric,
    st.sampled_from(Origin),
    st.text(max_size=5),
    NUMBERS | st.just(math.nan) | st.lists(NUMBERS, max_size=3).map(tuple),
)
SCALARS = st.booleans() | NUMBERS | st.text(max_size=5)
READINGS = st.builds(
    Reading,
    index=st.integers(0, 9),
    instance=st.none() | st.integers(0, 9),
    name=st.just("") | st.just("NVIDIA H200"),
    uuid=st.just(""),
    utilisation=st.none() | st.floats(0, 1),
    memory_used_bytes=st.none() | st.integers(0, 2**40),
    memory_total_bytes=st.none(),
    temperature_c=st.none() | st.floats(0, 99),
    power_w=st.none(),
    ecc_errors=st.none() | st.integers(0, 9),
    xids=st.dictionaries(st.integers(1, 99), st.integers(1, 9), max_size=2),
)
FIELDS = {
    int: st.integers(0, 2**53),
    float: st.floats(-LONGEST_S, LONGEST_S, allow_nan=False),
    str: st.text(max_size=8),
    tuple[str, ...]: st.lists(st.text(max_size=5), max_size=3).map(tuple),
    tuple[float, ...]: st.lists(st.floats(0, 1e300) | st.just(math.nan), max_size=3).map(tuple),
    tuple[int, ...]: st.lists(st.integers(0, 99), max_size=3).map(tuple),
    tuple[SettingRow, ...]: st.lists(
        st.builds(SettingRow, variable=st.text(), value=st.text(), source=st.text()), max_size=2
    ).map(tuple),
    tuple[Reading, ...]: st.lists(READINGS, max_size=2).map(tuple),
    tuple[Metric, ...]: st.lists(METRICS, max_size=4, unique_by=lambda each: each.measure).map(tuple),
}


def _values(kind):
    if kind in FIELDS:
        return FIELDS[kind]
    if kind in (dict, "parameters", "environment"):
        return st.dictionaries(st.text(max_size=4), SCALARS, max_size=3)
    if isinstance(kind, type):
        return st.sampled_from(kind)
    return st.none() | _values(next(each for each in kind.__args__ if each is not type(None)))


def _events(cls):
    given_fields = {
        field.name: _values(dict if field.name in ("parameters", "environment") else field.type)
        for field in dataclasses.fields(cls)
    }
    return st.builds(cls, **given_fields)


ENTRIES = st.builds(
    Entry,
    st.integers(0, 7 * 10**9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    st.one_of(*map(_events, EVENTS.values())),
    st.none() | st.integers(0, 2**53),
    st.text(max_size=8),
    st.just(JOURNAL_SCHEMA),
)


def metric_order(found):
    """Metrics are written by origin."""
    if not isinstance(found.event, RoundCompleted):
        return found
    metrics = sorted(found.event.metrics, key=lambda each: list(Origin).index(each.origin))
    return found._replace(event=dataclasses.replace(found.event, metrics=tuple(metrics)))


@given(ENTRIES)
def test_what_is_written_is_read_back_equal(written):
    line = line_of(written)
    assert line.count(b"\n") == 1
    (found,) = entries_of(line[:-1])
    assert repr(found) == repr(metric_order(written))
    assert line_of(found) == line


@given(ENTRIES, st.data())
def test_an_event_without_a_field_has_its_default_or_is_broken(written, data):
    record = record_of(written)
    key = data.draw(st.sampled_from(sorted(record)))
    del record[key]
    found = entry_of(record)
    if isinstance(found.event, BrokenEvent):
        assert key in found.event.why
    else:
        assert type(found.event) is type(written.event)
        assert record_of(found).keys() == record_of(written).keys() - ({key} & {"run", "process"})


def test_every_event_stands_in_the_table_under_its_name():
    def classes(cls):
        for each in cls.__subclasses__():
            yield each
            yield from classes(each)

    concrete = {cls.__name__ for cls in classes(Event) if "tag" in vars(cls)} - {
        "BrokenEvent",
        "UnknownEvent",
    }
    assert concrete == {cls.__name__ for cls in EVENTS.values()}
    assert all(cls.tag == tag for tag, cls in EVENTS.items())


def test_a_line_is_readable_json_with_the_names_of_before():
    started = entry("round_started", at=datetime(2026, 1, 2, tzinfo=UTC), round=3, rounds=5, clients=4, run=7)
    assert json.loads(line_of(started)) == {
        "v": JOURNAL_SCHEMA,
        "time": "2026-01-02T00:00:00+00:00",
        "event": "round_started",
        "run": 7,
        "round": 3,
        "rounds": 5,
        "clients": 4,
        "asked": 0,
    }
    saved = record_of(entry("checkpoint_saved", size_bytes=12))
    assert saved["bytes"] == 12
    completed = entry(
        "round_completed",
        metrics=(
            Metric(Origin.CENTRAL, "loss", 0.5),
            Metric(Origin.TRAIN, "norms", (1.0, math.inf)),
            Metric(Origin.TRAIN, "loss", math.nan),
        ),
    )
    record = record_of(completed)
    assert record["central_metrics"] == {"loss": 0.5}
    assert record["train_metrics"] == {"norms": [1.0, None], "loss": None}
    assert record["evaluate_metrics"] == {}


def test_numbers_of_numpy_are_numbers():
    found = record_of(
        Entry(
            BEGIN,
            RoundCompleted(
                round=np.int64(3),
                valid=np.uint8(2),
                seconds=np.float32(0.5),
                metrics=(
                    Metric(Origin.TRAIN, "loss", np.float32(0.25)),
                    Metric(Origin.TRAIN, "v", np.ones(2)),
                ),
            ),
        )
    )
    assert (found["round"], found["valid"], found["seconds"]) == (3, 2, 0.5)
    assert found["train_metrics"] == {"loss": 0.25, "v": [1.0, 1.0]}
    assert {type(found[key]) for key in ("round", "valid")} == {int}


@pytest.mark.parametrize(
    "wrong",
    [
        RoundStarted(round=-1, clients=1),
        RoundStarted(round=1.5, clients=1),
        RoundStarted(round=True, clients=1),
        RoundStarted(round="1", clients=1),
        RoundStarted(round=2**60, clients=1),
        ClientFailed(round=1, client=7, reason="x"),
        ClientFailed(round=1, client="7", code="shape", reason="x"),
        CheckpointSaved(round=1, seconds=math.nan),
        CheckpointSaved(round=1, seconds=None),
        RoundCompleted(round=1, metrics=(Metric(Origin.TRAIN, "x", "text"),)),
        RoundCompleted(round=1, metrics=(Metric(Origin.TRAIN, "x", True),)),
        TrainingFailed(reason="x", kind="app"),
        BrokenEvent(line="", why=""),
        UnknownEvent(kind="x", fields={}),
    ],
    ids=repr,
)
def test_what_is_wrong_is_refused_when_it_is_written(wrong):
    with pytest.raises(ValueError, match=r"expected|never written"):
        line_of(Entry(BEGIN, wrong))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"round": "x"}, "round_started with round 'x': expected a whole number"),
        ({"round": None}, "round_started without round"),
        ({"round": 1.0}, "with round 1.0"),
        ({"round": True}, "with round True"),
        ({"round": 10**400}, "with round 1000"),
        ({"clients": [1]}, "with clients"),
        ({"time": "never"}, "isoformat"),
        ({"time": "1950-01-01T00:00:00+00:00"}, "year"),
        ({"time": 3}, "round_started"),
        ({"run": "x"}, "run 'x'"),
        ({"process": 3}, "expected text"),
        ({"v": 0}, "schema"),
        ({"v": "2"}, "schema"),
        ({"event": 7}, "not an event"),
    ],
)
def test_a_broken_line_says_what_is_wrong_and_nothing_of_it_counts(change, why):
    record = {**record_of(entry("round_started")), **change}
    found = entry_of_line(json.dumps(record))
    assert isinstance(found.event, BrokenEvent)
    assert why in found.event.why
    assert found.time is None


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"3",
        b"\xff\xfe",
        b'{"no": "event"}',
        b'{"v": 2, "event": "to',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_a_foreign_or_torn_line_is_broken_and_spoils_no_other(line):
    whole = line_of(entry("round_started"))
    found = entries_of(whole + line + b"\n\n" + whole)
    assert [type(each.event) for each in found] == [RoundStarted, BrokenEvent, RoundStarted]
    assert len(found[1].event.line) <= 200


def test_an_event_of_a_later_version_is_kept():
    record = {**record_of(entry("round_started", run=3)), "event": "a_thing_of_tomorrow", "what": [1]}
    found = entry_of(record)
    assert (found.event.kind, found.event.fields["what"], found.run) == ("a_thing_of_tomorrow", [1], 3)
    later = entry_of({**record_of(entry("round_started")), "v": JOURNAL_SCHEMA + 1})
    assert isinstance(later.event, UnknownEvent)
    assert later.schema == JOURNAL_SCHEMA + 1


def test_a_field_of_a_later_version_is_passed_over():
    assert entry_of({**record_of(entry("round_started", round=4)), "novel": {}}).event.round == 4


def test_a_code_of_a_later_version_is_other_where_the_event_keeps_its_meaning():
    left = {**record_of(entry("client_failed", code=LeftOutCode.SHAPE)), "code": "novelty"}
    assert entry_of(left).event.code is LeftOutCode.OTHER
    failed = {**record_of(entry("training_failed", kind=ErrorKind.APP)), "kind": "novelty"}
    assert entry_of(failed).event.kind is None
    moved = {**record_of(entry("supervisor_state", state=SupervisorState.LOST)), "state": "novelty"}
    assert entry_of(moved).event == UnknownEvent(kind="supervisor_state", fields=moved)


@given(
    st.dictionaries(
        st.sampled_from(
            ["v", "time", "event", "run", "process", "round", "rounds", "client", "reason", "state"]
        ),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.lists(st.integers(), max_size=2)
        | st.sampled_from([*EVENTS, "2026-03-01T11:00:00+00:00", 1, 2, 3]),
    )
)
def test_whatever_a_line_holds_it_is_an_entry(record):
    assert isinstance(entry_of(record), Entry)


def test_reading_makes_the_same_event_as_the_constructor():
    for tag in EVENTS:
        made = event(tag)
        found = entry_of(record_of(Entry(BEGIN, made))).event
        assert found == made
        with pytest.raises((AttributeError, TypeError)):
            found.reason = "changed"


def test_a_run_is_any_number_of_64_bits():
    """Flower draws a run's id: most are above 2^53."""
    for run in (0, 2**53 + 1, 2**64 - 1):
        written = Entry(time=datetime.now(UTC), event=RunSubmitted(app="a/b"), run=run)
        assert entry_of_line(line_of(written).decode()) == written
