"""The lane: one at a time, whoever matters more first."""

import threading
import time

import pytest

from oneflower.flower.v1_25.lane import Lane, Rank


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def in_order(lane, ranks):
    """Return in which order threads get the lane that come in this order while it is taken."""
    got, threads = [], []

    def work(number, rank):
        with lane.turn(rank):
            got.append(number)

    with lane.turn(Rank.MESSAGE):
        for number, rank in enumerate(ranks):
            threads.append(threading.Thread(target=work, args=(number, rank)))
            threads[-1].start()
            wait_until(lambda: len(lane._waiting) == len(threads))
        assert got == []
    for thread in threads:
        thread.join(20)
    return got


def test_who_came_first_goes_first():
    assert in_order(Lane(), [Rank.OBJECT] * 5) == [0, 1, 2, 3, 4]


def test_a_heartbeat_goes_before_the_arrays_that_wait():
    ranks = [Rank.OBJECT, Rank.OBJECT, Rank.MESSAGE, Rank.SERVERAPP, Rank.HEARTBEAT, Rank.OBJECT]
    assert in_order(Lane(), ranks) == [4, 3, 2, 0, 1, 5]


def test_who_has_it_may_take_it_again():
    lane = Lane()
    with lane.turn(Rank.OBJECT), lane.turn(Rank.HEARTBEAT):
        assert lane.is_mine()
    assert not lane.is_mine()
    with lane.turn(Rank.OBJECT):
        pass


def test_an_error_gives_it_up():
    lane = Lane()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), lane.turn(Rank.OBJECT):
            1 / 0  # noqa: B018 - it is what raises
        assert not lane.is_mine()


def test_it_is_one_at_a_time():
    lane, inside, most = Lane(), [0], [0]

    def work():
        for _ in range(50):
            with lane.turn(Rank.OBJECT):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == [1]
    assert inside == [0]
