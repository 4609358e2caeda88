"""A SuperNode that was not let in is counted, and what may be a stolen key is on every screen."""

from datetime import UTC, datetime

import pytest

from oneflower.codes import RefusalCode
from oneflower.journal import reduce
from oneflower.monitor.export import short_document
from oneflower.monitor.html.panels.attention import concerns
from oneflower.monitor.state.safety import Safety
from oneflower.monitor.text.lines import describe
from oneflower.monitor.text.status import lines

from ..making import entry

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STRANGERS = [
    entry("join_refused", code=RefusalCode.UNKNOWN_KEY, key="ab", reason="its key is not known"),
    entry("join_refused", code=RefusalCode.UNKNOWN_KEY, key="cd", count=41, reason="its key is not known"),
]
ALARM = entry("join_refused", code=RefusalCode.KEY_CHANGED, key="ef", vm="12", reason="another key for VM 12")


def test_strangers_are_a_number():
    state = reduce(STRANGERS)
    assert state.refused == {RefusalCode.UNKNOWN_KEY: 42}
    assert not state.moments
    (concern,) = [each for each in concerns(state, Safety(), NOW) if "not let in" in each.what]
    assert (concern.style, "42 SuperNodes" in concern.what) == ("warn", True)
    assert dict(lines(state, NOW))["not let in"] == "SuperNodes (its key is not known: 42)"
    assert short_document(state, NOW)["counts"]["refused_joins"] == {"unknown_key": 42}
    assert describe(STRANGERS[1], state) == "41 SuperNodes were not let in: its key is not known"


def test_a_key_that_changed_is_an_alarm():
    state = reduce([ALARM, ALARM])
    assert [event.vm for event in state.key_alarms.values()] == ["12"]
    assert len(state.moments) == 2
    (concern,) = [each for each in concerns(state, Safety(), NOW) if "not let in" in each.what]
    assert (concern.style, concern.advice) == ("bad", "another key for VM 12")
    assert dict(lines(state, NOW))["key ALARM"] == "another key for VM 12"


def test_every_reason_has_a_series():
    exposition = pytest.importorskip("oneflower.monitor.metrics").exposition
    found = exposition(reduce([ALARM]), Safety(), NOW).decode()
    for code in RefusalCode:
        count = 1.0 if code is RefusalCode.KEY_CHANGED else 0.0
        assert f'oneflower_join_refusals_total{{reason="{code.value}"}} {count}' in found
