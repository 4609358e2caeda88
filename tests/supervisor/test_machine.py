"""The state machine: every state with everything that can happen, and laws over any course of events."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.codes import GiveUpCode, LossCode
from oneflower.supervisor import machine as m
from oneflower.supervisor.machine import Action, Machine, State, resumed, step
from oneflower.supervisor.memory import _machine

HAPPENINGS = {
    "up": m.SuperLinkUp(),
    "submitted": m.Submitted(7),
    "round": m.RoundCompleted(),
    "lost": m.Lost(reason="gone"),
    "finished": m.Finished(),
    "failed": m.Failed("no data"),
    "cleared": m.Cleared(),
    "pause over": m.PauseOver(),
}
# Everything else leaves the state as it is.
TABLE = {
    (State.WAITING, "up"): (State.SUBMITTING, Action.SUBMIT),
    (State.WAITING, "lost"): (State.LOST, Action.CLEAR),
    (State.SUBMITTING, "submitted"): (State.TRAINING, Action.FOLLOW),
    (State.SUBMITTING, "lost"): (State.LOST, Action.CLEAR),
    (State.SUBMITTING, "failed"): (State.GIVEN_UP, Action.REPORT),
    (State.TRAINING, "lost"): (State.LOST, Action.CLEAR),
    (State.TRAINING, "finished"): (State.FINISHED, Action.REPORT),
    (State.TRAINING, "failed"): (State.GIVEN_UP, Action.REPORT),
    (State.LOST, "cleared"): (State.BACKING_OFF, Action.PAUSE),
    (State.BACKING_OFF, "pause over"): (State.WAITING, Action.BRING_UP),
}


def course(machine, *names):
    for name in names:
        machine, _ = step(machine, HAPPENINGS[name])
    return machine


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("name", HAPPENINGS)
def test_every_state_with_everything_that_can_happen(state, name):
    after, action = step(Machine(max_restarts=3, state=state), HAPPENINGS[name])
    assert (after.state, action) == TABLE.get((state, name), (state, Action.NOTHING))


def test_a_run_that_is_known_is_followed_and_not_submitted_again():
    after, action = step(Machine(max_restarts=3, run=5), m.SuperLinkUp())
    assert (after.state, after.run, action) == (State.TRAINING, 5, Action.FOLLOW)


def test_the_pauses_between_losses_in_a_row_grow_up_to_a_bound():
    machine, waits = Machine(max_restarts=9), []
    for _ in range(8):
        machine = course(machine, "up", "submitted", "lost", "cleared")
        waits.append(machine.delay_s)
        machine = course(machine, "pause over")
    assert waits == [0.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_it_gives_up_after_so_many_losses_without_a_round_and_says_why():
    machine = Machine(max_restarts=2)
    for _ in range(2):
        machine = course(machine, "up", "submitted", "lost", "cleared", "pause over")
    machine = course(machine, "up", "submitted", "lost", "cleared")
    assert machine.state is State.GIVEN_UP
    assert "2 restarts in a row" in machine.reason
    assert "FL_MAX_RESTARTS" in machine.reason
    assert "gone" in machine.reason


def test_a_completed_round_forgives_the_losses_before_it():
    machine = Machine(max_restarts=1)
    for _ in range(5):
        machine = course(machine, "up", "submitted", "round", "lost", "cleared", "pause over")
        assert (machine.state, machine.losses) == (State.WAITING, 1)


def test_the_same_exception_of_the_app_twice_is_final():
    failure = m.Lost(reason="division by zero", code=LossCode.APP_EXCEPTION)
    machine = Machine(max_restarts=9)
    for _ in range(2):
        machine = course(machine, "up", "submitted")
        machine, _ = step(machine, failure)
        machine = course(machine, "cleared", "pause over")
    assert machine.state is State.GIVEN_UP
    assert "twice in the same way: division by zero" in machine.reason


@pytest.mark.parametrize("between", [("round",), ()])
def test_another_exception_or_a_round_between_is_not_the_same_failure(between):
    machine = Machine(max_restarts=9)
    for reason in ("one", "other" if not between else "one"):
        machine = course(machine, "up", "submitted", *between)
        machine, _ = step(machine, m.Lost(reason=reason, code=LossCode.APP_EXCEPTION))
        machine = course(machine, "cleared", "pause over")
    assert machine.state is State.WAITING


def test_an_exception_in_a_run_of_a_person_is_final_at_once():
    """Who has submitted it reads it, and submits what was mended; a lost run is not its fault."""
    machine = Machine(max_restarts=3, state=State.TRAINING, run=1, lenient=False)
    failed, _ = step(machine, m.Lost(reason="no", code=LossCode.APP_EXCEPTION))
    assert (failed.final, failed.gave_up, failed.reason) == (True, GiveUpCode.FINAL_ERROR, "no")
    lost, _ = step(machine, m.Lost(reason="gone", code=LossCode.SUPERLINK_DOWN))
    assert not lost.final


def test_a_useless_superlink_is_restarted_and_so_is_one_that_loses_run_after_run():
    trained = course(Machine(max_restarts=9), "up", "submitted")
    assert not step(trained, m.Lost(reason="x"))[0].restart
    assert step(trained, m.Lost(reason="x", superlink=True))[0].restart
    again = course(trained, "lost", "cleared", "pause over", "up", "submitted", "lost")
    assert again.restart
    assert not course(again, "cleared", "pause over", "up").restart


founds = st.one_of(
    st.sampled_from([m.SuperLinkUp(), m.RoundCompleted(), m.Finished(), m.Cleared(), m.PauseOver()]),
    st.builds(m.Submitted, st.integers(1, 9)),
    st.builds(m.Failed, st.text(max_size=5)),
    st.builds(
        m.Lost,
        reason=st.text(max_size=2),
        superlink=st.booleans(),
        code=st.sampled_from([LossCode.OTHER, LossCode.APP_EXCEPTION, LossCode.ENVIRONMENT]),
    ),
)


@given(st.integers(0, 4), st.lists(founds, max_size=60))
def test_laws_over_any_course_of_events(max_restarts, course_of_events):
    machine, rounds_since = Machine(max_restarts=max_restarts), 0
    for found in course_of_events:
        before = machine
        machine, action = step(before, found)
        if before.state in m.ENDS:
            assert machine == before
        assert (action is Action.NOTHING) == (machine.state is before.state)
        assert machine.run is None or machine.state in (State.TRAINING, State.LOST)
        rounds_since = (
            0 if isinstance(found, m.RoundCompleted) and before.state is State.TRAINING else rounds_since
        )
        if machine.state is State.LOST and before.state is not State.LOST:
            rounds_since += 1
        assert machine.losses <= max_restarts + 1
        assert rounds_since <= max_restarts + 1
        assert 0.0 <= machine.delay_s <= m.LONGEST_DELAY_S
        if machine.state is State.GIVEN_UP and not isinstance(found, m.Failed):
            assert machine.final or before.state is State.GIVEN_UP


@given(st.lists(founds, max_size=30))
def test_what_is_kept_is_what_is_read_again(course_of_events):
    machine = Machine(max_restarts=3)
    for found in course_of_events:
        machine, _ = step(machine, found)
    kept = json.loads(json.dumps(dataclasses.asdict(machine)))
    assert _machine(kept) == machine
    again = resumed(machine)
    assert again.state is (machine.state if machine.state in m.ENDS else State.WAITING)
    assert dataclasses.replace(again, state=machine.state) == machine
