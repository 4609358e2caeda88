"""Which clients a round draws: by seed and round, in an order that no node id decides."""

from collections import Counter
from itertools import combinations

import pytest
from flwr.clientapp import ClientApp
from hypothesis import given
from hypothesis import strategies as st

from oneflower.codes import Task
from oneflower.flower.who import Identity, Roll
from oneflower.lab.localgrid import LocalGrid
from oneflower.training.draw import Draw, Sampler, asked_of, draw_order, slots

TRAIN = Task.TRAIN


def identities(partitions, first=100):
    """Return nodes with ids from `first` on, each with a partition."""
    return {first + i: Identity(partition=each, name=f"node-{each}") for i, each in enumerate(partitions)}


def drawn(placed, server_round, number, seed=3, task=TRAIN, last=()):
    """Return the slots of the first clients of a round."""
    return [placed[node] for node in draw_order(placed, seed, server_round, task, last)[:number]]


# --- slots ----------------------------------------------------------------------------------------


@given(st.permutations(range(9)), st.integers(1, 10**6))
def test_a_draw_follows_from_the_partitions_whatever_the_node_ids(partitions, first):
    plain, other = slots(identities(range(9))), slots(identities(partitions, first))
    for number in (1, 2, 50):
        assert drawn(plain, number, 3) == drawn(other, number, 3)


def test_another_round_seed_or_task_draws_others():
    placed = slots(identities(range(50)))
    seen = {
        tuple(drawn(placed, number, 10, seed, task))
        for number in range(1, 20)
        for seed in (1, 2)
        for task in (TRAIN, Task.EVALUATE)
    }
    assert len(seen) == 19 * 2 * 2


@given(st.sets(st.integers(0, 29), min_size=16), st.integers(1, 1000))
def test_the_place_of_a_client_that_is_away_goes_to_the_next_and_the_others_stay(there, number):
    whole = drawn(slots(identities(range(30))), number, 30)
    assert drawn(slots(identities(sorted(there))), number, 30) == [each for each in whole if each in there]


def test_clients_without_a_partition_of_their_own_get_the_free_slots():
    """A client can claim any partition: that gives it one slot out of few, and never that of another."""
    nodes = {
        1: Identity(partition=0, name="a"),
        2: Identity(partition=0, name="b"),
        3: Identity(partition=2**30, name="liar"),
        4: Identity(name="named"),
        5: Identity(),
        6: Identity(partition=2, name="c"),
    }
    assert slots(nodes) == {1: 0, 6: 2, 2: 1, 3: 3, 4: 4, 5: 5}


def test_with_a_table_of_partitions_each_of_them_is_a_slot():
    nodes = identities([40, 41])
    assert slots(nodes) == {100: 0, 101: 1}
    assert slots(nodes, partitions=42) == {100: 40, 101: 41}


def test_a_client_that_failed_again_and_again_is_drawn_last():
    placed = slots(identities(range(6)))
    first, second, third, *_ = draw_order(placed, 3, 1, TRAIN)
    assert draw_order(placed, 3, 1, TRAIN, {first})[:2] == [second, third]
    assert draw_order(placed, 3, 1, TRAIN, {first})[-1] == first
    assert draw_order(placed, 3, 1, TRAIN, set(placed))[0] == first


# --- which replies count --------------------------------------------------------------------------


def a_draw(*order, wanted):
    return Draw(order=order, slots=tuple(range(len(order))), wanted=wanted)


def test_the_first_of_the_draw_count_and_not_the_first_to_come():
    draw = a_draw(7, 5, 9, 4, wanted=2)
    assert draw.counted({4, 9, 5}) == {5, 9}
    assert not draw.settled(valid={5, 9}, failed=set()), "7 may still reply"
    assert draw.settled(valid={5, 7}, failed=set())
    assert draw.settled(valid={5, 9}, failed={7})
    assert not draw.settled(valid={4, 5}, failed={7})


def test_without_spares_a_phase_is_over_when_all_have_replied():
    draw = a_draw(1, 2, 3, wanted=3)
    assert not draw.settled(valid={1, 2}, failed=set())
    assert draw.settled(valid={1, 2}, failed={3})
    assert draw.counted({1, 2}) == {1, 2}


@given(st.permutations(range(6)), st.integers(0, 6), st.integers(1, 6))
def test_once_a_draw_is_settled_no_later_reply_changes_who_counts(arrival, failing, wanted):
    draw = a_draw(0, 1, 2, 3, 4, 5, wanted=wanted)
    failed = set(range(failing))
    valid, gone = set(), set()
    for node in arrival:
        (gone if node in failed else valid).add(node)
        if draw.settled(valid, gone):
            break
    assert draw.counted(valid) == draw.counted(set(range(6)) - failed)


def test_a_strategy_that_asks_fewer_leaves_the_order_as_it_is():
    draw = a_draw(7, 5, 9, wanted=3).among({9, 7})
    assert (draw.order, draw.slots) == ((7, 9), (0, 2))
    assert a_draw(7, wanted=1).among(()).order == ()


@pytest.mark.parametrize(
    ("share", "asked"), [(0.0, 10), (0.1, 11), (0.3, 13), (0.25, 13), (1.0, 20), (0.01, 11)]
)
def test_a_share_is_rounded_up(share, asked):
    assert asked_of(10, share) == asked


# --- uniform --------------------------------------------------------------------------------------


def a_sampler(clients, seed=42):
    """Return a sampler of a simulation, as a training has it; every client says who it is."""
    grid = LocalGrid(ClientApp(), clients=clients, run_config={})
    return Sampler(seed=seed, roll=Roll(grid)), list(grid.get_node_ids())


def shares(sampler, nodes, rounds, wanted, task=TRAIN):
    """Return how often each client was drawn."""
    counts = Counter(dict.fromkeys(nodes, 0))
    for number in range(1, rounds + 1):
        counts.update(sampler.draw(nodes, number, task, wanted=wanted).order)
    return counts


@pytest.mark.parametrize("task", [TRAIN, Task.EVALUATE])
@pytest.mark.parametrize("seed", [0, 42, 2**32 - 1])
def test_over_a_thousand_rounds_each_client_has_its_share(seed, task):
    """100 clients, 10 a round: 99 degrees of freedom, of which 0.1 % are above 148 and 0.1 % below 60."""
    sampler, nodes = a_sampler(100, seed)
    counts = shares(sampler, nodes, 1000, 10, task)
    expected = 1000 * 10 / 100
    assert sum(counts.values()) == 1000 * 10
    # Drawn without replacement, a client's count has 1 - 10/100 of a binomial's variance, times 100/99.
    factor = (1 - 10 / 100) * 100 / 99
    statistic = sum((count - expected) ** 2 / expected for count in counts.values()) / factor
    assert 60 < statistic < 148, statistic


def test_every_set_of_clients_is_drawn_as_often_as_every_other():
    """Two of five clients: ten pairs, 9 degrees of freedom; 0.1 % are above 27.9."""
    placed = slots(identities(range(5)))
    pairs = Counter(frozenset(drawn(placed, number, 2)) for number in range(1, 5001))
    assert set(pairs) == {frozenset(pair) for pair in combinations(range(5), 2)}
    assert sum((count - 500) ** 2 / 500 for count in pairs.values()) < 27.9


def test_clients_are_asked_who_they_are_once_and_again_when_partitions_move():
    sampler, nodes = a_sampler(4)
    pushed = []
    grid = sampler.roll._grid
    push = grid.push_messages
    grid.push_messages = lambda messages: push([pushed.append(each) or each for each in messages])
    for number in (1, 2, 3):
        sampler.draw(nodes, number, TRAIN, wanted=2)
    assert len(pushed) == 4
    sampler.roll.forget()
    sampler.draw(nodes, 4, TRAIN, wanted=2)
    assert len(pushed) == 8


def test_what_was_said_before_partitions_moved_does_not_count():
    sampler, nodes = a_sampler(3)
    roll = sampler.roll
    roll._ask(nodes)  # the answers are on their way
    roll.forget()
    roll._listen()
    assert not roll._known
    assert [each.partition for each in roll.identities(nodes).values()] == [0, 1, 2]
