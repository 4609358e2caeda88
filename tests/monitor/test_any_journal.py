"""Every reader and a journal whose lines may hold anything: a damaged disk or another version wrote them."""

import json
from dataclasses import fields
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.journal import EVENTS, TrainingState
from oneflower.journal.codec import entry_of
from oneflower.monitor.charts.figure import figure
from oneflower.monitor.export import full_document, short_document
from oneflower.monitor.html.comparison import comparison_page, results
from oneflower.monitor.html.page import live_page, render
from oneflower.monitor.html.report import render_report
from oneflower.monitor.state.safety import Safety
from oneflower.monitor.text.lines import describe
from oneflower.monitor.text.status import lines

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

# What Python's parser takes from a line: numbers that are not finite, and integers that no float holds, too.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.sampled_from([10**400, -(10**400), 2**63, 1e308, float("inf"), float("-inf"), float("nan")]),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["2026-03-01T10:00:00", "2026-03-01T10:00:00+00:00", "9999-12-31T23:59:59-23:00", "1"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
METRICS = st.dictionaries(st.sampled_from(["loss", "accuracy"]), st.floats(), max_size=2)
USUAL = {
    "round": st.integers(0, 9),
    "rounds": st.integers(0, 9),
    "clients": st.integers(0, 9),
    "restarts": st.integers(0, 9),
    "client": st.sampled_from(["a", "b", "c"]),
    "name": st.sampled_from(["vm-1", "vm-2"]),
    "time": st.just("2026-03-01T11:00:00+00:00"),
    "phase": st.sampled_from(["train", "evaluate"]),
    "state": st.sampled_from(["training", "lost", "backing_off", "backing off", "given_up"]),
    "reason": st.text(max_size=5),
    "seconds": st.floats(0, 100),
    "delay_s": st.floats(0, 100),
    "train_metrics": METRICS,
    "evaluate_metrics": METRICS,
    "central_metrics": METRICS,
}


def _events_of(name):
    """Return lines of an event: most of them as they should be, with one field that holds anything."""
    own = [each.metadata.get("json", each.name) for each in fields(EVENTS[name])]
    usual = {key: USUAL.get(key, VALUES) for key in (*own, "time")}
    named = {"event": st.just(name), "v": st.sampled_from([1, 2])}
    odd = st.dictionaries(st.sampled_from([*usual, "run", "v", "process"]), VALUES, max_size=1)
    return st.builds(lambda line, more: {**line, **more}, st.fixed_dictionaries({**named, **usual}), odd)


JOURNALS = st.lists(st.one_of(*map(_events_of, EVENTS)), max_size=12)


@given(journal=JOURNALS)
def test_no_line_breaks_a_reader(journal):
    pytest.importorskip("prometheus_client")
    from oneflower.monitor.metrics import exposition

    state = TrainingState()
    for line in journal:
        entry = entry_of(line)
        state.take(entry)
        describe(entry, state)
    json.dumps(short_document(state, NOW), allow_nan=False)
    json.dumps(full_document(state, NOW, Safety()), allow_nan=False)
    list(lines(state, NOW))
    render_report(state)
    live_page(render(state, Safety(), NOW, "1"))
    exposition(state, Safety(), NOW)
    comparison_page({"one": state, "two": TrainingState()})
    figure({"one": state, "two": TrainingState()})
    list(results({"one": state}))
