"""Calls that hold arrays wait while there is no room for more."""

import threading

import pytest

from oneflower.flower.v1_25.fleet_limits import RefusedError
from oneflower.flower.v1_25.room import CHUNK_BYTES, MOST_OF_ONE, Room

KEY, OTHER = b"one", b"other"


def in_a_thread(function):
    done = threading.Event()

    def run():
        function()
        done.set()

    threading.Thread(target=run, daemon=True).start()
    return done


def test_who_finds_no_room_waits_until_there_is_some():
    room = Room(2 * CHUNK_BYTES)
    first, _ = room.take(KEY), room.take(KEY)
    waiting = in_a_thread(lambda: room.take(OTHER))
    assert not waiting.wait(0.2)
    first.shrink_to(1)
    assert not waiting.wait(0.2)
    first.shrink_to(0)
    assert waiting.wait(10)
    assert room.used == 2 * CHUNK_BYTES


def test_a_call_of_a_known_size_has_room_for_that_alone():
    room = Room(2 * CHUNK_BYTES)
    taken = room.take(KEY)
    taken.shrink_to(100)
    assert room.used == 100
    taken.shrink_to(500)  # it never grows
    assert room.used == 100
    for _ in range(2):
        taken.shrink_to(0)
    assert room.used == 0


def test_one_call_is_let_in_however_little_room_there_is():
    assert Room(1).take(KEY)


def test_one_key_has_a_few_pieces():
    room = Room()
    taken = [room.take(KEY) for _ in range(MOST_OF_ONE)]
    with pytest.raises(RefusedError, match="8 objects of this SuperNode are under way"):
        room.take(KEY)
    room.take(OTHER)
    taken[0].shrink_to(0)
    room.take(KEY)
