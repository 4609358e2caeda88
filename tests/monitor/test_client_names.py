"""A client that has given its name is shown by it, also after its SuperNode has another id of Flower's."""

from datetime import UTC, datetime

import pytest

from oneflower.codes import LeftOutCode
from oneflower.journal import reduce
from oneflower.monitor.export import full_document
from oneflower.monitor.html.page import render
from oneflower.monitor.html.report import render_report
from oneflower.monitor.state.safety import Safety
from oneflower.monitor.text.lines import describe
from oneflower.monitor.text.status import lines

from ..making import entry

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OLD, NEW, OTHER = "1111111111", "2222222222", "3333333333"
BAD = {"code": LeftOutCode.NOT_FINITE, "reason": "NaN"}
NAMED = [
    entry("training_started", rounds=5),
    entry("client_joined", client=OLD, connected=1),
    entry("client_joined", client=OTHER, connected=2),
    entry("client_named", client=OLD, name="edge-7", partition=2),
    entry("round_started", round=1, clients=2),
    entry("client_quarantined", round=1, client=OLD, **BAD),
    entry("round_completed", round=1, valid=1, seconds=1.0),
]
LEFT = entry("client_left", client=OLD, connected=1)
BACK = [
    entry("client_joined", client=NEW, connected=2),
    entry("client_named", client=NEW, name="edge-7", partition=2),
]
RESTARTED = [LEFT, *BACK]
# Flower counts the old id as online until its lease is over: then the leaving is seen after the return.
RESTARTED_QUICKLY = [*BACK, LEFT]


def status(state):
    return "\n".join(f"{label} {text}" for label, text in lines(state, NOW))


def test_every_reader_shows_the_name():
    state = reduce(NAMED)
    assert "edge-7 (partition 2)" in status(state)
    assert "round 1: edge-7 quarantined" in status(state)
    sections = render(state, Safety(), NOW, "1").sections
    assert "edge-7</code> · partition 2" in sections["clients"]
    assert OLD in sections["clients"], "Flower's id is there for who looks closer"
    assert "client edge-7: quarantined" in sections["doing"] or "edge-7" in sections["doing"]
    report = render_report(state)
    assert "edge-7</code> · partition 2" in report
    assert report.count("edge-7") >= 2, "the table of those left out has it too"
    document = full_document(state, NOW)
    assert document["connected"] == [OTHER, "edge-7"]
    (client,) = [each for each in document["clients"] if each["client"] == OLD]
    assert (client["name"], client["partition"]) == ("edge-7", 2)
    assert (document["left_out"][0]["client"], document["left_out"][0]["name"]) == (OLD, "edge-7")


def test_log_lines_show_the_name():
    state = reduce(NAMED)
    assert describe(NAMED[3], state) == f"client {OLD} is edge-7, partition 2"
    assert describe(NAMED[5], state) == "round 1: client edge-7 left out: NaN"
    assert describe(LEFT, state) == "client edge-7 has left: 1 is connected"


@pytest.mark.parametrize("restarted", [RESTARTED, RESTARTED_QUICKLY], ids=["slowly", "quickly"])
def test_after_a_restart_of_its_supernode_it_has_one_row_with_its_history(restarted):
    state = reduce([*NAMED, *restarted])
    document = full_document(state, NOW)
    (client,) = [each for each in document["clients"] if each["name"] == "edge-7"]
    assert (client["client"], client["quarantines"], client["partition"]) == (NEW, 1, 2)
    assert document["connected"] == [OTHER, "edge-7"]
    assert render(state, Safety(), NOW, "1").sections["clients"].count("edge-7") == 1


@pytest.mark.parametrize("restarted", [RESTARTED, RESTARTED_QUICKLY], ids=["slowly", "quickly"])
def test_its_old_id_still_has_its_name_among_those_left_out(restarted):
    state = reduce([*NAMED, *restarted])
    assert "round 1: edge-7 quarantined" in status(state)
    (left,) = full_document(state, NOW)["left_out"]
    assert (left["client"], left["name"]) == (OLD, "edge-7")


def test_two_clients_that_give_the_same_name_are_two():
    state = reduce([*NAMED, *BACK])
    assert [client.shown for client in state.roster.values()].count("edge-7") == 2
    assert render(state, Safety(), NOW, "1").sections["clients"].count("edge-7") == 2


def test_a_name_cannot_become_markup_or_move_a_cursor():
    evil = "<script>\x1b[2J"
    state = reduce([*NAMED, entry("client_named", client=OTHER, name=evil)])
    assert "<script>" not in render(state, Safety(), NOW, "1").sections["clients"]
    assert "<script>" not in render_report(state)
    assert "\x1b" not in status(state)
