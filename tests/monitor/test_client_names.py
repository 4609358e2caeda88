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


def cluster(*ids, run=2, after=1):
    """Return what is written when a SuperLink starts, and its SuperNodes with these ids."""
    yield entry("cluster_started", nodes=len(ids))
    yield entry("run_submitted", run=run)
    yield (
        entry("training_resumed", run=run, round=after, rounds=5)
        if after
        else entry("training_started", run=run, rounds=5)
    )
    for number, node in enumerate(ids):
        yield entry("client_joined", run=run, client=node, connected=number + 1)
    for number, node in enumerate(ids):
        yield entry("client_named", run=run, client=node, name=f"supernode-{number}", partition=number)
    yield entry("round_started", run=run, round=after + 1, clients=len(ids))
    for node in ids:
        yield entry("reply_received", run=run, round=after + 1, client=node, seconds=1.0)
    yield entry("round_completed", run=run, round=after + 1, valid=len(ids), seconds=1.0)


FIRST = [*cluster("11", "12", run=1, after=0)]


@pytest.mark.parametrize("lost", [[], [entry("run_lost", run=1)]], ids=["up again", "SuperLink killed"])
def test_clients_of_a_new_superlink_are_those_of_before_under_other_ids(lost):
    """`connected 4: supernode-0, supernode-0, supernode-1, supernode-1` with two nodes."""
    document = full_document(reduce([*FIRST, *lost, *cluster("21", "22")]), NOW)
    assert document["connected"] == ["supernode-0", "supernode-1"]
    rows = [(each["client"], each["name"], each["rounds"]) for each in document["clients"]]
    assert sorted(rows) == [("21", "supernode-0", 2), ("22", "supernode-1", 2)]
    assert {each["standing"] for each in document["clients"]} == {"answered"}


def test_after_a_new_start_only_those_that_have_joined_are_connected():
    begun = [*FIRST, entry("cluster_started", nodes=2)]
    assert full_document(reduce(begun), NOW)["connected"] == []
    assert "connected 0" in status(reduce(begun))
    one = reduce([*FIRST, *cluster("21")])
    assert full_document(one, NOW)["connected"] == ["supernode-0"]
    assert [each["standing"] for each in full_document(one, NOW)["clients"]] == ["gone", "answered"]


def test_ids_that_stay_keep_their_rows_and_another_that_claims_a_name_gets_none():
    claim = entry("client_named", run=2, client="99", name="supernode-0", partition=0)
    joined = [entry("client_joined", run=2, client="99", connected=3), claim]
    begun = [each for each in cluster("11", "12") if each.event.tag != "client_named"]
    document = full_document(reduce([*FIRST, *begun, *joined]), NOW)
    rows = {each["client"]: each["rounds"] for each in document["clients"]}
    assert rows == {"11": 2, "12": 2, "99": 0}
    assert document["connected"] == ["supernode-0", "supernode-0", "supernode-1"]


def test_two_parts_of_one_machine_are_not_mixed_up_by_who_answers_first():
    """The second of one name is told as name/part, whichever of them that is."""
    names = [entry("client_named", client="31", name="host", partition=0)]
    again = [
        entry("training_resumed", round=1, rounds=5),
        entry("client_joined", client="42", connected=1),
        entry("client_named", client="42", name="host", partition=1),
    ]
    left_out = entry("client_quarantined", client="31", **BAD)
    state = reduce([entry("client_joined", client="31"), *names, left_out, *again])
    assert [(each.name, each.quarantines) for each in state.roster.values()] == [("31", 1), ("42", 0)]


def test_bounded_updates_are_told_under_one_name_after_a_new_start():
    bounded = [entry("client_bounded", run=run, client=node) for run, node in ((1, "11"), (2, "21"))]
    state = reduce([*FIRST, bounded[0], *cluster("21", "22"), bounded[1]])
    assert "bounded 1: supernode-0 in 2 rounds" in status(state)
