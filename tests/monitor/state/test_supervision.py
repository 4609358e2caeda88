"""What the supervisor does is told from its events: its state, what it waits for, why, and how often."""

from datetime import UTC, datetime, timedelta

import pytest

from oneflower.codes import Phase, SupervisorState, text
from oneflower.journal import reduce
from oneflower.journal.events import SettingRow
from oneflower.monitor.html.panels import doing, headline
from oneflower.monitor.state.supervision import AWAITED, DOING, supervision

from ...making import entry

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
LOSS = "the SuperLink has ended"
TRAINING = {"rounds": 3, "strategy": "FedAvg", "parameters": {}, "app": "tests/tiny"}


def at(offset, tag, **fields):
    return entry(tag, at=BEGAN + timedelta(seconds=offset), **fields)


def lost(offset, losses, delay_s):
    return [
        at(offset, "supervisor_state", state=SupervisorState.LOST, reason=LOSS),
        at(offset, "run_lost", run=1, reason=LOSS, restarts=losses, delay_s=delay_s),
        at(offset, "supervisor_state", state=SupervisorState.BACKING_OFF, reason=LOSS),
    ]


def test_something_is_said_of_every_state():
    assert set(AWAITED) | set(DOING) == set(SupervisorState)


def test_a_training_without_a_supervisor_has_none():
    view = reduce([at(0, "training_started", round=0, **TRAINING)])
    assert supervision(view) is None
    assert "Supervisor" not in doing(view)


@pytest.mark.parametrize("state", SupervisorState)
def test_every_state_is_on_the_page(state):
    page = doing(reduce([at(0, "supervisor_state", state=state, reason="")]))
    assert text(state) in page
    assert "No restart so far." in page


def test_a_pause_tells_its_length_its_end_and_its_reason():
    told = supervision(reduce(lost(5, 3, 4.0)))
    assert told.doing == "pauses for 4 s, then tries again"
    assert told.next_try == BEGAN + timedelta(seconds=9)
    assert told.reason == LOSS
    assert told.restarts == "1 restart so far, 3 in a row without a completed round"


def test_losses_in_a_row_are_held_against_how_many_are_allowed():
    row = SettingRow(variable="FL_MAX_RESTARTS", value="10", source="default")
    events = [at(0, "settings_used", settings=(row,), environment={}), *lost(1, 1, 0.0), *lost(2, 2, 2.0)]
    assert supervision(reduce(events)).restarts == (
        "2 restarts so far, 2 of 10 allowed in a row without a completed round"
    )


def test_a_completed_round_ends_the_row():
    events = [*lost(1, 1, 0.0), at(2, "round_completed", round=1, rounds=3, valid=2, seconds=1.0)]
    assert supervision(reduce(events)).restarts == "1 restart so far"


def test_a_run_that_has_come_back_tells_from_what_until_it_has_completed_a_round():
    events = [*lost(1, 1, 0.0), at(2, "supervisor_state", state=SupervisorState.TRAINING, reason=LOSS)]
    before = supervision(reduce(events))
    assert (before.label, before.reason) == ("Comes back from", LOSS)
    completed = at(3, "round_completed", round=1, rounds=3, valid=2, seconds=1.0)
    assert supervision(reduce([*events, completed])).reason == ""


def test_a_training_that_is_taken_up_after_it_was_given_up_is_no_failure_any_more():
    gave_up = [
        at(1, "supervisor_state", state=SupervisorState.GIVEN_UP, reason=LOSS),
        at(1, "training_gave_up", reason=LOSS, restarts=11),
    ]
    view = reduce(gave_up)
    assert (view.phase, view.failure.words) == (Phase.FAILED, LOSS)
    assert "Given up" in headline(view)
    again = reduce([*gave_up, at(9, "supervisor_state", state=SupervisorState.SUBMITTING, reason="")])
    assert (again.phase, again.failure) == (Phase.STARTING, None)


def test_a_supervisor_that_takes_a_running_training_over_does_not_change_what_it_does():
    events = [
        at(0, "training_started", round=0, **TRAINING),
        at(1, "round_started", round=1, rounds=3, clients=2),
        at(2, "supervisor_state", state=SupervisorState.WAITING, reason="the supervisor has started"),
    ]
    assert reduce(events).phase is Phase.TRAINING


def test_where_a_lost_training_goes_on_is_told():
    saved = at(
        1,
        "checkpoint_saved",
        round=2,
        file="/c/checkpoint_round_2.npz",
        size_bytes=1,
        seconds=0.1,
        sha256="a",
    )
    assert "goes on after round 2" in doing(reduce([saved, *lost(2, 1, 0.0)]))
    assert "goes on from round 1" in doing(reduce(lost(2, 1, 0.0)))
