"""Journals of schema 1, and of before events had owners, are read as if they had been written today."""

import pytest

from oneflower.codes import GiveUpCode, LeftOutCode, LossCode, RoundFailure, StallCode, SupervisorState
from oneflower.journal import BrokenEvent, UnknownEvent, reduce
from oneflower.journal.codec import entry_of
from oneflower.quality import Metric, Origin

TIME = "2026-01-02T00:00:00+00:00"


def old(event, **fields):
    return entry_of({"v": 1, "time": TIME, "event": event, **fields})


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("waiting for the SuperLink", SupervisorState.WAITING),
        ("submitting", SupervisorState.SUBMITTING),
        ("training", SupervisorState.TRAINING),
        ("lost", SupervisorState.LOST),
        ("backing off", SupervisorState.BACKING_OFF),
        ("finished", SupervisorState.FINISHED),
        ("given up", SupervisorState.GIVEN_UP),
    ],
)
def test_states_were_prose(state, code):
    assert old("supervisor_state", state=state, reason="x").event.state is code


def test_the_first_words_of_a_supervisor_are_no_reason():
    assert old("supervisor_state", state="training", reason="the supervisor has started").event.reason == ""


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("array 'conv1.weight' holds NaN or infinity; expected finite numbers", LeftOutCode.NOT_FINITE),
        ("num-examples is 0; expected a number above 0", LeftOutCode.NUM_EXAMPLES),
        ("array 'w' has shape [3]; expected [4]", LeftOutCode.SHAPE),
        ("array 'w' has dtype float64; expected float32", LeftOutCode.DTYPE),
        ("array 'w' is missing; expected the model's 3 arrays", LeftOutCode.ARRAY_NAMES),
        ("metrics ['loss'] are missing, which most clients send", LeftOutCode.METRICS),
        ("no answer to train in 12 s: still connected", LeftOutCode.NO_ANSWER),
        ("<class 'ValueError'>:<'x'>", LeftOutCode.APP_EXCEPTION),
        ("Message Unavailable in Storage", LeftOutCode.UNAVAILABLE),
        ("the reply is empty; expected one array record", LeftOutCode.FORM),
        ("a wholly new reason", LeftOutCode.OTHER),
    ],
)
@pytest.mark.parametrize("event", ["client_failed", "client_quarantined"])
def test_why_a_client_was_left_out_was_text_alone(event, reason, code):
    assert old(event, round=1, client="7", reason=reason).event.code is code


@pytest.mark.parametrize(
    ("event", "reason", "code"),
    [
        ("round_failed", "1 clients connected, 2 needed", RoundFailure.FEW_CLIENTS),
        ("round_failed", "1 valid updates, 2 needed", RoundFailure.FEW_UPDATES),
        ("run_lost", "the SuperLink has ended", LossCode.SUPERLINK_DOWN),
        ("run_lost", "the SuperLink knows no run 7 any more", LossCode.RUN_FORGOTTEN),
        ("run_lost", "the ServerApp's process has ended", LossCode.APP_ENDED),
        ("run_lost", "something else", LossCode.OTHER),
        ("training_gave_up", "gave up after 10 restarts in a row without", GiveUpCode.TOO_MANY_RESTARTS),
        ("training_gave_up", "the app failed twice in the same way: x", GiveUpCode.SAME_EXCEPTION),
        ("training_gave_up", "FL_X is wrong", GiveUpCode.FINAL_ERROR),
    ],
)
def test_other_reasons_were_text_alone(event, reason, code):
    assert old(event, round=1, reason=reason).event.code is code


def test_what_was_done_to_a_stalled_process_was_a_code_already():
    reason = "it was stopped by a signal (SIGSTOP), and once more after it was continued"
    found = old("process_stalled", role="superlink", done="ended", reason=reason).event
    assert (found.done, found.code) == ("ended", StallCode.STOPPED_AGAIN)


def test_a_line_without_a_version_and_an_owner_is_read():
    found = entry_of({"time": TIME, "event": "round_completed", "round": 3, "central_metrics": {"loss": 1}})
    assert (found.schema, found.run, found.process, found.event.round) == (1, None, "", 3)
    assert found.event.metrics == (Metric(Origin.CENTRAL, "loss", 1),)


def test_what_is_no_metric_is_left_out():
    metrics = {"loss": None, "name": "x", "flag": True, "vector": [1.0, None], "huge": 10**400, "f1": 0.5}
    found = old("round_completed", round=1, central_metrics=metrics).event.metrics
    assert [each.name for each in found] == ["loss", "vector", "f1"]


def test_a_null_was_as_good_as_nothing():
    found = old("training_failed", reason="x", rounds=None, path=None).event
    assert found.rounds is None
    assert old("training_started", rounds=3, parameters=None).event.parameters == {}


@pytest.mark.parametrize(
    "fields",
    [{}, {"round": "x"}, {"round": 1, "central_metrics": [1]}, {"round": 1, "central_metrics": {"l": [[1]]}}],
)
def test_what_was_damaged_stays_damaged_or_out(fields):
    found = old("round_completed", **fields).event
    assert isinstance(found, BrokenEvent) or found.metrics == ()


def test_a_whole_journal_of_before_reduces_to_its_training():
    state = reduce(
        [
            old("supervisor_state", state="waiting for the SuperLink", reason="the supervisor has started"),
            old("run_submitted", run=7, app="a/b"),
            old("training_started", round=0, rounds=2, strategy="FedAvg", app="a/b", run=7),
            old("round_started", round=1, rounds=2, clients=2, run=7),
            old("reply_received", round=1, phase="train", client="5", seconds=1.5, run=7),
            old("client_failed", round=1, client="6", reason="no answer to train in 3 s", run=7),
            old("round_completed", round=1, rounds=2, valid=1, seconds=2, train_metrics={"loss": 3.0}, run=7),
            old("x_of_its_time", run=7),
        ]
    )
    assert (state.done, state.total, state.left_out[0].code) == (1, 2, LeftOutCode.NO_ANSWER)
    assert (state.best().round, state.supervisor, state.unknown) == (1, "waiting", {"x_of_its_time": 1})
    assert isinstance(old("x_of_its_time").event, UnknownEvent)
