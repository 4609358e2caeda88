"""Pauses between questions for work."""

import pytest

from oneflower.flower.v1_25.pace import Pace


class Clock:
    def __init__(self):
        self.now = 100.0
        self.pauses = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.pauses.append(round(seconds, 3))
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pace(clock):
    return Pace(idle_s=3.0, shortest_s=0.2, clock=clock, sleep=clock.sleep)


def ask(clock, pace, *, seconds=0.0):
    """Ask, which takes some seconds, and pause."""
    clock.now += seconds
    pace.sleep(3.0)
    return clock.pauses[-1]


def test_who_never_had_work_asks_as_rarely_as_flower(clock, pace):
    assert [ask(clock, pace) for _ in range(3)] == [3.0, 3.0, 3.0]


def test_right_after_work_the_pause_is_shortest(clock, pace):
    ask(clock, pace)
    pace.worked()
    assert ask(clock, pace) == 0.2


def test_the_pause_grows_with_the_time_since_work_up_to_flowers(clock, pace):
    pace.worked()
    pauses = [ask(clock, pace) for _ in range(60)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 3.0


def test_a_pause_is_never_more_than_a_tenth_of_the_wait(clock, pace):
    ask(clock, pace)
    pace.worked()
    began = clock.now
    for _ in range(40):
        waited = clock.now - began
        assert ask(clock, pace) <= max(0.2, 0.1 * waited) + 1e-3


def test_a_question_that_was_held_for_the_pause_is_followed_by_the_next_at_once(clock, pace):
    ask(clock, pace)
    assert ask(clock, pace, seconds=3.0) == 0.0


def test_without_a_shortest_pause_only_the_start_of_the_question_counts(clock):
    pace = Pace(idle_s=1.0, clock=clock, sleep=clock.sleep)
    pace.sleep(1.0)
    clock.now += 0.4
    pace.sleep(1.0)
    assert clock.pauses == [1.0, 0.6]
