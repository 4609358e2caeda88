"""A journal that someone else may have written: no reader fails, none is slow, none passes a control on."""

import asyncio
import json
import time
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from oneflower.journal import EVENTS, read_journal, reduce
from oneflower.journal.codec import entries_of, line_of
from oneflower.journal.events import BrokenEvent
from oneflower.journal.forms import MOST_TEXT, MOST_TEXT_OF_CLIENT
from oneflower.journal.reader import read_backwards
from oneflower.monitor.charts.figure import figure
from oneflower.monitor.export import full_document, short_document
from oneflower.monitor.html.comparison import comparison_page, results
from oneflower.monitor.html.page import live_page, render
from oneflower.monitor.html.report import render_report
from oneflower.monitor.state.safety import Safety, from_journal
from oneflower.monitor.text.lines import describe
from oneflower.monitor.text.status import lines
from oneflower.monitor.tracking.tracker import track

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")

from oneflower.monitor.metrics import exposition
from oneflower.monitor.web.access import Token
from oneflower.monitor.web.app import make_app
from oneflower.monitor.web.live import Live

# Shrinking a journal takes minutes; what fails is short enough.
HOW = {
    "suppress_health_check": list(HealthCheck),
    "phases": (Phase.explicit, Phase.reuse, Phase.generate),
}
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ATTACK = (
    'x"}\nevil_metric{a="b"} 1\n# \x1b[31mRED\x1b]0;t\x07\x9b31m<script>alert(1)</script>\'"><img src=x>'
    "&lt;\u202e\u2028../../etc [bold]rich[/bold] [link=http://evil]x[/link] \ud800 "
)
LARGE = [10**12 - 1, 2**53, 2**31, 10**6]
TEXTS = st.sampled_from([ATTACK, "\ud800", "\x00", "A" * 70_000, "", "'", "`", "%s{0}", "../..", "a" * 300])
NUMBERS = st.sampled_from([0, 1, 2, 3, 9, *LARGE, 1e15, 0.5, 1e-300])
TIMES = st.sampled_from(
    ["2026-03-01T11:00:00+00:00", "1970-01-01T00:00:00+00:00", "2199-12-31T23:59:59+00:00", "2026-03-01"]
)
ODD = st.one_of(
    TEXTS,
    st.text(st.characters(exclude_categories=()), max_size=8),
    st.sampled_from([None, True, [], {}, -1, 10**400, float("inf"), float("nan"), [[[]]], {"a": {"b": []}}]),
    st.integers(),
    st.floats(),
)


ROW = st.fixed_dictionaries({"variable": TEXTS, "value": TEXTS, "source": TEXTS})
BY_TYPE = {
    "Mapping": st.dictionaries(TEXTS, st.one_of(TEXTS, NUMBERS), max_size=3),
    "tuple[str": st.lists(TEXTS, max_size=3),
    "tuple[int": st.lists(st.sampled_from([0, 1, *LARGE]), max_size=3),
    "SettingRow": st.lists(ROW, max_size=2),
    "int": st.sampled_from([0, 1, 2, 3, *LARGE]),
    "float": st.sampled_from([0.0, 1.5, 1e15, -1.0, 2.0**53]),
    "str": TEXTS,
}


def values_of(field):
    """Return values that a field may have: those of its own type, as far out as they go."""
    name, kind = field.name, str(field.type)
    if name in ("client", "name"):
        return st.sampled_from(["a", "b", ATTACK, "A" * 70_000])
    found = next((values for part, values in BY_TYPE.items() if part in kind), None)
    return found if found is not None else st.sampled_from([each.value for each in _codes(kind)] or ["other"])


def _codes(kind):
    from oneflower import codes, kinds

    name = kind.replace("| None", "").strip().rpartition(".")[2].strip("'> ")
    return list(getattr(codes, name, getattr(kinds, name, ())))


METRICS = st.dictionaries(
    st.sampled_from(["loss", "accuracy", ATTACK, "A" * 70_000]),
    st.sampled_from([0.5, 1e308, -1e308, None, [1.0, 2.0], 1e-320]),
    max_size=3,
)


def line_strategy(tag):
    own = {
        each.metadata.get("json", each.name): values_of(each)
        for each in fields(EVENTS[tag])
        if each.name != "metrics"
    }
    if tag == "round_completed":
        own |= {f"{origin}_metrics": METRICS for origin in ("train", "evaluate", "central")}
    line = st.fixed_dictionaries({"v": st.just(2), "event": st.just(tag), "time": TIMES, **own})
    odd = st.dictionaries(st.sampled_from([*own, "run", "v", "process", "time", "event"]), ODD, max_size=1)
    return st.builds(lambda right, wrong: json.dumps({**right, **wrong}), line, st.one_of(st.just({}), odd))


JUNK = st.sampled_from(
    ["[" * 200_000, '{"a":' * 50_000, '{"round": ' + "9" * 5000 + "}", '"\\ud800"', "null", "\x00", "NaN"]
)
ROWS = st.lists(st.one_of(*map(line_strategy, EVENTS), JUNK), max_size=10)


class Data(bytes):
    """Bytes that a report of a failure does not print whole."""

    def __repr__(self):
        return f"{bytes(self)[:3000]!r}, {len(self)} bytes"


@st.composite
def journals(draw):
    """Return the bytes of a journal; some bytes are changed."""
    data = bytearray("\n".join(draw(ROWS)).encode(errors="surrogatepass"))
    for _ in range(draw(st.integers(0, 2))) if data else ():
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return Data(data)


def read_by_everyone(entries):
    state = reduce(entries)
    for entry in entries:
        line = describe(entry, state)
        assert line is None or line.isprintable()
        if not isinstance(entry.event, BrokenEvent) and type(entry.event).__name__ != "UnknownEvent":
            (written,) = entries_of(line_of(entry))  # which may cut its texts
            assert entries_of(line_of(written)) == [written]
    for document in (short_document(state, NOW), full_document(state, NOW, from_journal(state))):
        json.dumps(document, allow_nan=False)
    for _, text in lines(state, NOW):
        assert text.isprintable()
    pages = [
        render_report(state, safety=from_journal(state)),
        live_page(render(state, from_journal(state), NOW, "1")),
        comparison_page({"one": state, ATTACK: state}),
        str(figure({"one": state})),
    ]
    for page in pages:
        page.encode()
        assert "<script>alert" not in page
        assert "\x1b" not in page
        assert "\u202e" not in page
    list(results({"one": state}))
    scraped = exposition(state, Safety(), NOW).decode()
    assert scraped.replace("\n", "").isprintable()
    series = [line.rpartition(" ")[0] for line in scraped.splitlines() if not line.startswith("#")]
    assert len(series) == len(set(series))
    return state


@settings(max_examples=150, **HOW)
@given(data=journals())
def test_no_journal_breaks_a_reader(data):
    read_by_everyone(entries_of(data))


async def _get(app, path):
    """Ask an ASGI app for one page; an exception that it raises is the test's."""
    sent = []

    async def receive():
        return {"type": "http.request"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    return sent[0]["status"]


@settings(max_examples=25, **HOW)
@given(data=journals())
def test_no_journal_gives_an_error_of_the_page(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "journal.jsonl").write_bytes(data)
    with Live(folder / "journal.jsonl", folder=folder) as live:
        app = make_app(live, Token(""))
        for path in ("/", "/metrics", "/report", "/report.json"):
            assert asyncio.run(_get(app, path)) == 200


@settings(max_examples=25, **HOW)
@given(data=journals())
def test_no_journal_breaks_tensorboard(tmp_path_factory, data):
    pytest.importorskip("tensorboard")
    from oneflower.monitor.tracking.tensorboard import TensorBoardTracker

    tracker = TensorBoardTracker(tmp_path_factory.mktemp("events"))
    try:
        track(entries_of(data), tracker)
    finally:
        tracker.close()


@settings(max_examples=8, **HOW)
@given(data=journals())
def test_no_journal_breaks_mlflow(tmp_path_factory, monkeypatch, data):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    pytest.importorskip("mlflow")
    from oneflower.monitor.tracking.mlflow import MlflowTracker

    tracker = MlflowTracker(f"file:{tmp_path_factory.mktemp('mlruns')}", "hostile")
    track(entries_of(data), tracker)


@pytest.mark.parametrize(
    "line",
    [
        '{"v":1,"time":"2026-03-01T11:00:00","event":"round_completed","round":1e400}',
        '{"v":1,"time":"2026-03-01T11:00:00","event":"training_started","rounds":3,"parameters":true}',
        '{"v":2,"time":"2026-03-01T11:00:00","event":"round_completed","round":' + "9" * 5000 + "}",
        '{"v":2,"time":"9999-12-31T23:59:59-23:00","event":"client_joined","client":"a"}',
        "[" * 1_000_000,
    ],
)
def test_a_line_beyond_all_bounds_is_counted_and_skipped(line):
    state = read_by_everyone(entries_of(line.encode()))
    assert state.broken == 1


def test_a_trillion_rounds_are_shown_at_once():
    rounds = 999_999_999_999
    record = {"v": 2, "time": "2026-03-01T11:00:00+00:00", "event": "training_started", "rounds": rounds}
    done = {**record, "event": "round_completed", "round": rounds - 1, "seconds": 1e15, "valid": 2}
    started = time.monotonic()
    state = read_by_everyone(entries_of(f"{json.dumps(record)}\n{json.dumps(done)}".encode()))
    assert state.total == rounds
    assert time.monotonic() - started < 60  # a loop over the rounds would take days


def test_a_long_text_is_cut_when_it_is_read_and_when_it_is_written():
    """Journals of earlier releases hold reasons of any length."""
    record = {
        "v": 2,
        "time": "2026-03-01T11:00:00+00:00",
        "event": "client_failed",
        "round": 1,
        "client": "7",
        "reason": "A" * 20_000_000,
    }
    (entry,) = entries_of(json.dumps(record).encode())
    assert entry.event.reason == "A" * MOST_TEXT + "... (19983616 more characters)"
    assert len(line_of(entry)) < 2 * MOST_TEXT_OF_CLIENT


def test_a_line_holds_no_control_character(tmp_path):
    record = {
        "v": 2,
        "time": "2026-03-01T11:00:00+00:00",
        "event": "client_failed",
        "round": 1,
        "client": "größe",
        "reason": ATTACK,
    }
    (entry,) = entries_of(json.dumps(record).encode())
    line = line_of(entry).decode()
    assert line.endswith("}\n")
    assert line[:-1].isprintable()
    assert "größe" in line
    assert entries_of(line.encode()) == [entry]


@pytest.mark.parametrize("line", [b"x\n", b"{}\n", b"\xff\n", b'{"event": "of no time at all", "x": 1}\n'])
def test_any_number_of_broken_lines_is_counted_and_takes_no_memory(tmp_path, line):
    path, many = tmp_path / "journal.jsonl", 200_000
    good = b'{"v":2,"time":"2026-03-01T11:00:00+00:00","event":"client_joined","client":"a"}\n'
    path.write_bytes(good + line * many + good)
    for read in (list(read_journal(path)), list(read_backwards(path))):
        state = reduce(read)
        assert state.broken == many
        assert len(read) < 5000
        assert sum(type(entry.event).__name__ == "ClientJoined" for entry in read) == 2


@pytest.mark.parametrize("values", [90_000, 4_000_000])
def test_a_line_of_many_values_is_kept_in_part_or_skipped(values):
    line = '{"v":2,"time":"2026-03-01T11:00:00+00:00","event":"of_tomorrow","x":[' + "[]," * values + "1]}"
    (entry,) = entries_of(line.encode())
    if values > 200_000:
        assert "at most 200000 are read" in entry.event.why
    else:
        assert len(str(entry.event.fields)) < 6000


def test_a_file_without_lines_is_read_in_pieces(tmp_path: Path):
    """One line of 80 MB, more than a journal's file can have, is some that cannot be read."""
    path = tmp_path / "journal.jsonl"
    good = '{"v":2,"time":"2026-03-01T11:00:00+00:00","event":"client_joined","client":"a"}\n'
    with path.open("w") as file:
        file.write(good)
        for _ in range(80):
            file.write("A" * 1_000_000)
        file.write("\n" + good)
    for read in (list(read_journal(path)), list(read_backwards(path))[::-1]):
        kinds = [type(entry.event).__name__ for entry in read]
        assert kinds[0] == kinds[-1] == "ClientJoined"
        assert set(kinds[1:-1]) == {"BrokenEvent"}
        assert len(kinds) <= 6
