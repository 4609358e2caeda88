"""Every reader and a journal whose lines may hold anything: a damaged disk or another version wrote them."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.journal import EVENTS
from oneflower.monitor.compare import comparison_page, results
from oneflower.monitor.export import as_json
from oneflower.monitor.figure import figure
from oneflower.monitor.history import History, fold
from oneflower.monitor.lines import describe
from oneflower.monitor.page import live_page, render
from oneflower.monitor.report import render_report
from oneflower.monitor.safety import Safety
from oneflower.monitor.status import facts, lines

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
USUAL = {
    "round": st.integers(0, 9),
    "rounds": st.integers(0, 9),
    "client": st.sampled_from(["a", "b", "c"]),
    "time": st.just("2026-03-01T11:00:00+00:00"),
    "phase": st.sampled_from(["train", "evaluate"]),
    "train_metrics": st.dictionaries(st.sampled_from(["loss", "accuracy"]), SCALARS, max_size=2),
}


def _events_of(name):
    fields = {field: USUAL.get(field, VALUES) | VALUES for field in (*EVENTS[name], "time", "restarts")}
    return st.fixed_dictionaries({"event": st.just(name)}, optional=fields)


JOURNALS = st.lists(st.one_of(*map(_events_of, EVENTS)), max_size=12)


@given(journal=JOURNALS)
def test_no_line_breaks_a_reader(journal):
    pytest.importorskip("prometheus_client")
    from oneflower.monitor.metrics import exposition

    history = History()
    for event in journal:
        history.take(event)
        describe(event, history)
    json.dumps(facts(history, NOW), allow_nan=False)
    list(lines(history, NOW))
    json.dumps(as_json(history, Safety()), allow_nan=False)
    render_report(history)
    live_page(render(history, Safety(), NOW, "1"))
    exposition(history, Safety(), NOW)
    comparison_page({"one": history, "two": fold([])})
    figure({"one": history, "two": fold([])})
    list(results({"one": history}))
