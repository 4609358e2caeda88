"""Lines of a journal that cannot be read, and events of a later version, are counted wherever it is read."""

from datetime import UTC, datetime

import pytest

from oneflower.journal import Journal, read_journal, reduce
from oneflower.monitor.export import full_document, short_document
from oneflower.monitor.html.page import render
from oneflower.monitor.html.report import render_report
from oneflower.monitor.state.safety import Safety
from oneflower.monitor.text.status import lines

from ..making import event

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TIME = "2026-03-01T10:00:00+00:00"


@pytest.fixture
def state(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(event("training_started", rounds=3))
    with journal.path.open("a") as file:
        file.write("{ torn\n")
        file.write(f'{{"v": 2, "event": "round_completed", "time": "{TIME}", "round": "<b>"}}\n')
        file.write(f'{{"v": 2, "event": "tomorrow", "time": "{TIME}"}}\n')
        file.write(f'{{"v": 9, "event": "next_year", "time": "{TIME}"}}\n')
    return reduce(read_journal(journal.path))


BROKEN = "2 lines of the journal cannot be read."
LATER = "2 events of the journal are of a later version."


def test_the_status_counts_them_and_says_the_last_reason(state):
    said = [text for label, text in lines(state, NOW) if label == "journal"]
    assert said[0].startswith(f"{BROKEN} The last one: round_completed with round")
    assert said[1].startswith(LATER)
    assert "next_year (1)" in said[1]


def test_the_dashboard_and_the_report_do(state):
    attention = render(state, Safety(), NOW, "1").sections["attention"]
    for page in (attention, render_report(state)):
        assert BROKEN in page
        assert "The last one: round_completed with round" in page
        assert LATER in page
        assert "<b>" not in page.replace('<b class="sign', "")


@pytest.mark.parametrize("document", [short_document, full_document])
def test_json_does(state, document):
    told = document(state, NOW)["journal"]
    assert told["broken_lines"] == 2
    assert told["last_broken"].startswith("round_completed with round")
    assert told["unknown_events"] == {"tomorrow": 1, "next_year": 1}


def test_metrics_do(state):
    pytest.importorskip("prometheus_client")
    from oneflower.monitor.metrics import exposition

    text = exposition(state, Safety(), NOW).decode()
    assert "oneflower_journal_broken_lines 2.0" in text
    assert "oneflower_journal_unknown_events 2.0" in text


def test_a_journal_without_them_says_nothing():
    state = reduce([])
    assert not [text for label, text in lines(state, NOW) if label == "journal"]
    assert short_document(state, NOW)["journal"]["last_broken"] is None
