"""One screen tells which training it is, how far it is, who takes part, what is saved and what is awaited."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from oneflower.codes import SupervisorState, Task
from oneflower.journal import reduce
from oneflower.journal.events import ClientJoined, PartsAssigned, RunSubmitted
from oneflower.monitor.export import short_document
from oneflower.monitor.state import standing
from oneflower.monitor.text.status import lines, waiting_for

from ...making import entry, measured_rounds, metrics

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def at(offset, tag, **fields):
    return entry(tag, at=BEGAN + timedelta(seconds=offset), **fields)


TRAINING = [
    at(0, "supervisor_state", state=SupervisorState.TRAINING, reason=""),
    at(0, "run_submitted", run=1, app="tests/tiny"),
    at(
        1,
        "training_started",
        round=0,
        rounds=4,
        strategy="Krum",
        parameters={"num_malicious": 1},
        app="tests/tiny",
    ),
    at(2, "client_joined", client="1111", connected=1),
    at(2, "client_joined", client="2222", connected=2),
    at(3, "round_started", round=1, rounds=4, clients=2),
    at(4, "reply_received", round=1, phase=Task.TRAIN, client="1111", seconds=1.0),
    at(4, "client_quarantined", round=1, client="2222", reason="w holds NaN or infinity\x1b[2J"),
    at(
        5, "round_completed", round=1, rounds=4, valid=1, seconds=2.0, metrics=metrics(central={"loss": 0.25})
    ),
    at(
        5,
        "checkpoint_saved",
        round=1,
        file="/c/checkpoint_round_1.npz",
        size_bytes=2000000,
        seconds=0.1,
        sha256="ab",
    ),
    at(6, "run_lost", run=1, reason="the SuperLink has ended", restarts=1, delay_s=0.0),
    at(
        9,
        "training_resumed",
        round=1,
        rounds=4,
        strategy="Krum",
        parameters={"num_malicious": 1},
        app="tests/tiny",
    ),
    at(9, "client_joined", client="1111", connected=1),
    at(9, "client_joined", client="2222", connected=2),
    at(10, "round_started", round=2, rounds=4, clients=2),
    at(11, "reply_received", round=2, phase=Task.TRAIN, client="1111", seconds=1.0),
]


def connected(state):
    return [client.name for client in standing.connected(state)]


def told(events, seconds=21):
    return dict(pair for pair in lines(reduce(events), BEGAN + timedelta(seconds=seconds)) if pair[0])


def test_one_screen_tells_it_all():
    screen = told(TRAINING)
    assert screen["training"] == "tests/tiny, Krum (num_malicious 1)"
    assert screen["rounds"].startswith("1 of 4 [#######...")
    assert "about 6 s left" in screen["rounds"]
    assert screen["now"] == "training, round 2: 1 of 2 have trained"
    assert screen["waiting for"] == "the updates of 1 client"
    assert screen["result"] == "loss 0.2500 after round 1"
    assert screen["connected"] == "2: 1111, 2222"
    assert screen["left out"].startswith("round 1: 2222 quarantined: w holds NaN")
    assert screen["checkpoint"] == "round 1, checkpoint_round_1.npz, 2.0 MB, 16 s ago"
    assert screen["restarts"].startswith("1,")
    assert screen["supervisor"] == "training: follows the run"
    assert screen["last event"] == "10 s ago"


def test_what_a_client_sends_cannot_move_the_cursor():
    assert "\x1b" not in "".join(text for _, text in lines(reduce(TRAINING), BEGAN))


def test_the_same_is_told_to_programs():
    known = short_document(reduce(TRAINING), BEGAN + timedelta(seconds=21))
    assert json.loads(json.dumps(known)) == known
    training = known["training"]
    assert (training["round"], training["rounds"], training["running_round"]) == (1, 4, 2)
    assert known["counts"]["restarts"] == 1
    assert known["left_out"][0]["client"] == "2222"


def test_who_has_which_part_is_told():
    assigned = [at(12, "parts_assigned", round=2, members=(12, 11)) for _ in range(2)]
    view = reduce([*TRAINING, *assigned])
    assert short_document(view, BEGAN)["parts"] == [12, 11]
    assert told([*TRAINING, *assigned])["parts"] == "2: 12, 11 (VM ids, from part 0 on)"
    assert [type(moment.event) for moment in view.moments].count(PartsAssigned) == 1
    assert "parts" not in told(TRAINING)


def test_an_empty_journal_has_a_screen_too():
    screen = told([])
    assert screen["training"] == "not started yet"
    assert screen["checkpoint"] == "none"


@pytest.mark.parametrize(
    ("event", "awaited"),
    [
        (at(12, "waiting_for_clients", connected=1, needed=2), "clients: 1 of 2 clients are connected"),
        (
            at(12, "waiting_for_clients", connected=2, needed=2, failing=("3",)),
            (
                "clients: 1 of 2 connected clients is counted, 2 needed: "
                "1 client failed in the last rounds and will be asked again"
            ),
        ),
        (at(12, "run_lost", run=2, reason="x", restarts=2, delay_s=2.0), "the ServerApp to start again"),
        (at(12, "training_finished", round=4, rounds=4, sha256="ab"), ""),
        (at(12, "training_gave_up", reason="too often", restarts=3), ""),
    ],
)
def test_what_is_waited_for(event, awaited):
    assert waiting_for(reduce([*TRAINING, event])) == awaited


def test_a_superlink_that_is_waited_for_is_named_with_the_reason():
    events = [
        *TRAINING,
        at(12, "run_lost", run=2, reason="x", restarts=2, delay_s=2.0),
        at(12, "supervisor_state", state=SupervisorState.WAITING, reason="the SuperLink has ended"),
    ]
    assert waiting_for(reduce(events)) == "the SuperLink to answer (the SuperLink has ended)"
    assert told(events)["supervisor"].endswith("waits for the SuperLink to answer (the SuperLink has ended)")


def test_who_has_left_is_not_connected():
    assert connected(reduce([*TRAINING, at(12, "client_left", client="1111", connected=1)])) == ["2222"]


def test_an_old_journal_without_joining_is_read_by_the_answers():
    assert connected(reduce([each for each in TRAINING if not isinstance(each.event, ClientJoined)])) == [
        "1111"
    ]


def test_what_the_app_raised_is_told_until_the_training_is_started_again():
    raised = at(12, "app_failed", app="a", error="ValueError", reason="no data", where="server.py:9")
    alone = [each for each in TRAINING if not isinstance(each.event, RunSubmitted)]
    assert told([*alone, raised])["failed"] == "the app raised ValueError: no data (server.py:9)"
    supervised = told([*TRAINING, raised])
    assert "failed" not in supervised, "the supervisor starts it again"
    assert "the app raised ValueError: no data (server.py:9)" in supervised["waiting for"]
    again = at(13, "run_lost", run=1, reason="no data", restarts=1, delay_s=0.0)
    assert "failed" not in told([*TRAINING, raised, again])


def test_a_failure_and_a_finish_are_told():
    assert (
        told([*TRAINING, at(12, "training_gave_up", reason="too often", restarts=3)])["failed"] == "too often"
    )
    assert told([*TRAINING, at(12, "training_finished", round=4, rounds=4, sha256="abc")])["SHA-256"] == "abc"


@pytest.mark.parametrize(
    ("seconds", "silent_s", "is_odd"),
    [(2.0, 100, False), (2.0, 130, True), (600.0, 1700, False), (600.0, 1900, True)],
)
def test_silence_beyond_the_pace_of_the_rounds_is_said(seconds, silent_s, is_odd):
    """Two minutes at least, and three of the last rounds: a long round is no silence."""
    began = [at(0, "training_started", rounds=4), at(1, "round_completed", round=1, seconds=seconds)]
    last = told(began, seconds=1 + silent_s)["last event"]
    assert ("longer than usual" in last) is is_odd


def test_a_training_that_has_ended_may_be_silent():
    ended = [at(0, "training_started", rounds=1), at(1, "training_finished", round=1)]
    assert "longer than usual" not in told(ended, seconds=10**6)["last event"]


def test_an_own_loop_shows_its_exchanges_and_no_rounds():
    entries = [
        entry("loop_started", app="me/loop", path="/state/exchanges"),
        entry("client_quarantined", client="1001", reason="NaN"),
        entry("exchange_completed", exchange=1, messages=3, replies=2, quarantined=1, size_bytes=5_000_000),
    ]
    shown = dict(lines(reduce(entries), BEGAN))
    assert shown["exchanges"] == "1 of the app's own loop, 3 messages, 2 replies, 1 quarantined"
    assert shown["recording"] == "5.0 MB in /state/exchanges"
    assert shown["left out"].startswith("exchange 1: ")
    assert "rounds" not in shown
    assert "checkpoint" not in shown


def outlier_lines(*entries):
    state = reduce([entry("training_started", rounds=50), *entries])
    found = list(lines(state, state.last_time))
    labels = [label for label, _ in found]
    if "outliers" not in labels:
        return []
    first = labels.index("outliers")
    last = next(i for i in range(first + 1, len(labels)) if labels[i])
    return [words for _, words in found[first:last]]


def test_a_client_that_is_always_far_has_a_line():
    usual = {"a": 1.0, "b": 1.0, "c": 1.0}
    assert outlier_lines(*measured_rounds(usual)) == []
    assert outlier_lines(*measured_rounds({**usual, "evil": 7.5})) == [
        "evil: 7.5 times as far from the model as the median client (far in 5 of 5 recent rounds)"
    ]
    assert outlier_lines(*measured_rounds({**usual, "evil": float("nan")})) == [
        "evil: too far from the model (far in 5 of 5 recent rounds)"
    ]
    assert outlier_lines(*measured_rounds({**usual, "d": 1.0}, rounds=10, selected=(1, 1, 1, 0))) == [
        "d: not used by the rule in the last 10 rounds"
    ]


def test_many_outliers_are_counted():
    many = {f"n{i}": 1.0 for i in range(20)} | {f"evil{i}": 9.0 for i in range(7)}
    found = outlier_lines(*measured_rounds(many))
    assert len(found) == 6
    assert found[-1] == "and 2 more; the report shows the farthest"


def test_json_names_the_outliers():
    usual = {"a": 1.0, "b": 1.0, "c": 1.0}
    state = reduce([entry("training_started", rounds=50), *measured_rounds({**usual, "evil": float("nan")})])
    (found,) = short_document(state, state.last_time)["outliers"]
    assert found == {
        "client": "evil",
        "name": None,
        "far_rounds": 5,
        "measured_rounds": 5,
        "distance_in_medians": None,
        "is_far": True,
        "is_never_used": False,
    }
