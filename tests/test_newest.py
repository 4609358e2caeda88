"""What is remembered of nodes is bounded, and the newest is kept."""

from oneflower.flower.packing_grid import PackingGrid
from oneflower.flower.waiting import LATEST, Durations
from oneflower.newest import MOST, Newest

from .flower.test_grid import World


def test_the_keys_that_were_set_last_are_kept():
    newest = Newest(2)
    for key in (1, 2, 1, 3):
        newest[key] = -key
    assert dict(newest) == {1: -1, 3: -3}


def test_a_key_that_is_taken_out_makes_room():
    newest = Newest(2)
    newest[1] = newest[2] = 0
    assert newest.pop(1) == 0
    newest[3] = 0
    assert list(newest) == [2, 3]


def test_durations_of_nodes_that_never_come_back_are_forgotten():
    durations = Durations()
    for node in range(3 * MOST):
        for kind in ("train", "evaluate"):
            durations.note(kind, 0, 1.0)
            durations.note(kind, node + 1, 2.0)
    assert len(durations._known) <= 4 * MOST
    assert list(durations.of("train", 0)) == [1.0] * LATEST
    assert durations.of("train", 1) == ()


def test_greetings_of_nodes_that_never_come_back_are_forgotten(monkeypatch):
    most = 300
    monkeypatch.setattr(Newest.__init__, "__defaults__", (most,))
    grid = PackingGrid(World(nodes=[], delays={}))
    grid._inner.push_messages = lambda _: ["greeting"]
    for node in range(2 * most):
        grid._ask([node])
        assert grid.undecided([node]) == set(), "its time is over"
    assert len(grid._greeted) == len(grid._slow) == most
