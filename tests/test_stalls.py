"""Stopped and hung processes are detected, and slow ones are left alone."""

import pytest

from oneflower.codes import StallAct
from oneflower.procfs import Identity, ProcessStatus
from oneflower.stalls import FORGIVEN_S, HUNG_S, LONGEST_STEP_S, STOPPED_S, AwakeClock, StallDetector

WHO = Identity(pid=7, start_ticks=1)


def status(state="S"):
    return ProcessStatus(identity=WHO, state=state, parent=1, session=1, cpu_ticks=0)


@pytest.fixture
def clock():
    now = [0.0]

    def read():
        return now[0]

    read.now = now
    return read


@pytest.fixture
def watching(clock):
    """Check every two seconds for this long; return the actions, each with its second."""
    counts = [0]
    detector = StallDetector(clock, lambda _pid: counts[0])

    def look(seconds, state="S", *, works=True, loop=True):
        found = []
        for _ in range(int(seconds / 2)):
            clock.now[0] += 2.0
            counts[0] += works
            stalls = detector.look([status(state)], {WHO} if loop else set())
            found += [(stall.act, clock.now[0]) for stall in stalls]
        return found

    return look


def test_a_short_stop_is_ignored(watching):
    assert watching(60) == []
    assert watching(STOPPED_S - 2, "T", works=False) == []
    assert watching(60) == []


def test_a_stopped_process_is_continued_and_then_ended_if_it_stays_stopped(watching):
    assert watching(3 * STOPPED_S, "T", works=False) == [(StallAct.CONTINUED, 12.0), (StallAct.ENDED, 22.0)]


def test_a_process_stopped_again_soon_is_ended_and_one_stopped_later_is_continued(watching):
    watching(STOPPED_S + 2, "T", works=False)
    watching(20)
    assert [act for act, _ in watching(STOPPED_S + 2, "T", works=False)] == [StallAct.ENDED]
    watching(FORGIVEN_S + 4)
    assert [act for act, _ in watching(STOPPED_S + 2, "T", works=False)] == [StallAct.CONTINUED]


def test_a_loop_that_does_not_run_is_ended(watching):
    watching(20)
    (found,) = watching(HUNG_S + 2, works=False)
    assert found[0] is StallAct.ENDED


@pytest.mark.parametrize("state", ["D", "T"])
def test_time_in_the_kernel_or_stopped_does_not_count_as_hanging(watching, state):
    watching(20)
    acts = [act for act, _ in watching(STOPPED_S + 2 if state == "T" else 2 * HUNG_S, state, works=False)]
    assert acts == ([StallAct.CONTINUED] if state == "T" else [])
    assert watching(HUNG_S - 4, works=False) == []


def test_a_program_without_a_loop_may_sleep_for_any_time(watching):
    assert watching(10 * HUNG_S, works=False, loop=False) == []


def test_time_in_which_the_machine_was_suspended_is_ignored():
    now = [0.0]
    awake = AwakeClock(lambda: now[0])
    detector = StallDetector(awake, lambda _pid: 1)
    for step in (2.0, 2.0, 3600.0, 2.0, 86400.0, 2.0):
        now[0] += step
        assert detector.look([status("T")], set()) == []
    assert awake() == 8.0


def test_the_awake_clock_counts_steps_but_no_gaps():
    now = [0.0]
    awake = AwakeClock(lambda: now[0])
    for step in (1.0, LONGEST_STEP_S, LONGEST_STEP_S + 1, -5.0, 1.0):
        now[0] += step
        awake()
    assert awake() == LONGEST_STEP_S + 2.0
