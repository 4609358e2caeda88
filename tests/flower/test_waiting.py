"""How long a phase waits: whatever fewer than half of the nodes do, not much longer than the others took."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneflower.flower.grid import RoundGrid
from oneflower.flower.waiting import (
    LATEST,
    Durations,
    Pacing,
    Polls,
    Typical,
    patience_s,
    pause_s,
    phase_ends_s,
    typical_s,
    usual_s,
)

from .test_grid import World, messages

PACING = Pacing()
TIMEOUT_S = 3600.0
SLACK_S = 2 * PACING.max_poll_s
"""Between the last poll before a moment and the first one after it."""
seconds = st.floats(0.1, 500.0)
hostile_seconds = st.floats(0.0, 1e6)


@pytest.mark.parametrize(
    ("quorum_s", "took", "usual", "end"),
    [
        (1.0, {1: 1.0, 2: 1.0}, {}, 60.0),
        (1.0, {1: 1.0, 2: 1.0, 3: 55.0}, {}, 60.0),
        (20.0, {1: 5.0, 2: 20.0}, {}, 100.0),
        (20.0, {1: 5.0, 2: 20.0, 3: 30.0, 4: 80.0}, {}, 100.0),
        (20.0, {1: 5.0, 2: 20.0, 3: 30.0, 4: 40.0, 5: 80.0}, {}, 150.0),
        (1.0, {1: 1.0}, {1: 1.0, 2: 90.0, 3: 90.0}, 450.0),
        (1.0, {1: 1.0, 2: 1.0}, {3: 1e6}, 60.0),
    ],
    ids=[
        "the lease of a dead node at least",
        "one late reply moves nothing",
        "five times what the quorum took",
        "a few late ones move nothing",
        "five times the median",
        "most nodes are known to be slow",
        "one node says that it is slow",
    ],
)
def test_the_end_of_a_phase(quorum_s, took, usual, end):
    assert phase_ends_s(quorum_s, took, usual, PACING) == end


@pytest.mark.parametrize(
    ("own", "others", "patience"),
    [
        ([], [], 900.0),
        ([], [1.0], 5.0),
        ([], [10.0, 40.0], 20.0),
        ([], [10.0, 40.0, 3500.0], 80.0),
        ([], [2000.0], 900.0),
        ([30.0], [1.0, 2.0], 60.0),
        ([2.7, 2.7, 12.7], [2.7], 5.4),
        ([12.7, 2.7, 2.7], [2.7], 5.4),
        ([600.0, 600.0, 600.0], [1.0], 1200.0),
    ],
    ids=[
        "nothing is known",
        "never below five seconds",
        "twice the lower of the two in the middle",
        "one slow node moves it to no more than an honest one took",
        "others never make it longer than where nothing is known",
        "a slow node has twice its own time",
        "slow once",
        "slow once, long ago",
        "slow always",
    ],
)
def test_the_patience_with_a_node(own, others, patience):
    assert patience_s(own, typical_s(others), TIMEOUT_S, PACING) == pytest.approx(patience)


def test_only_the_last_durations_count():
    durations = Durations()
    for spent in (50.0, 50.0, 50.0, 1.0, 2.0, 3.0):
        durations.note("train", 7, spent)
    assert list(durations.of("train", 7)) == [1.0, 2.0, 3.0][-LATEST:]
    assert durations.usual("train", [7, 8]) == {7: 2.0}
    assert durations.of("evaluate", 7) == ()


@given(st.lists(seconds, min_size=1, max_size=20), st.data())
def test_a_minority_moves_no_median_beyond_what_the_honest_took(honest, data):
    hostile = data.draw(st.lists(hostile_seconds, max_size=len(honest) - 1))
    assert typical_s([*hostile, *honest]) <= max(honest)
    took = dict(enumerate([*hostile, *honest]))
    usual = {-1 - i: each for i, each in enumerate(hostile[: len(honest) - 1 - len(hostile)])}
    bound = max(PACING.grace_floor_s, PACING.grace_factor * max(honest))
    assert phase_ends_s(max(honest), took, usual, PACING) <= bound


@given(st.lists(seconds, min_size=1, max_size=20), st.data())
def test_patience_with_an_honest_node_is_bounded_by_what_the_honest_took(honest, data):
    """And each of its durations that a hostile one cannot set is its own."""
    others = data.draw(st.lists(hostile_seconds, max_size=len(honest)))
    own = data.draw(st.lists(st.sampled_from(honest), max_size=LATEST))
    bound = max(PACING.resend_floor_s, PACING.resend_factor * max(honest))
    assert patience_s(own, typical_s([*others, *honest]), TIMEOUT_S, PACING) <= bound


@given(st.dictionaries(st.integers(0, 9), seconds, max_size=10), st.integers(0, 9))
def test_what_the_others_typically_take_is_their_lower_median(durations, node):
    others = [spent for other, spent in durations.items() if other != node]
    assert Typical(durations, 10).without(node) == typical_s(others)


@given(st.integers(2, 1000), st.floats(0.01, 10.0), st.data())
def test_nodes_that_wait_for_their_turn_are_not_silent(nodes, apart_s, data):
    """Replies come one after the other; a node whose turn has not come is not sent its work again."""
    replied = data.draw(st.integers(1, nodes - 1))
    known = {node: apart_s * (node + 1) for node in range(replied)}
    expected = Typical(known, nodes).expected(nodes - 1)
    assert expected is not None
    assert patience_s((), expected, math.inf, PACING) >= apart_s * replied


@given(st.dictionaries(st.integers(0, 9), seconds, min_size=1, max_size=10))
def test_where_all_others_have_replied_only_the_median_counts(durations):
    node, everyone = 10, len(durations) + 1
    assert Typical(durations, everyone).expected(node) == typical_s(durations.values())


@given(st.lists(hostile_seconds, min_size=1, max_size=LATEST))
def test_what_is_usual_was_measured(durations):
    assert min(durations) <= usual_s(durations) <= max(durations)


# --- a whole phase in simulated time -------------------------------------------------------------------

Behaviour = st.tuples(
    st.one_of(st.none(), st.floats(0.0, 400.0)),  # when it replies, None: never
    st.booleans(),  # whether the reply passes the checks
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_a_minority_does_a_phase_ends_soon_after_the_honest_have_replied(data):
    """The law of this module: 60 s, or five times the slowest honest one, in each of several rounds."""
    honest = data.draw(st.lists(st.floats(0.1, 100.0), min_size=2, max_size=5), label="honest")
    nodes = list(range(1, len(honest) + 1))
    bad = range(100, 100 + data.draw(st.integers(1, len(honest) - 1), label="hostile"))
    world = World(nodes=[*nodes, *bad])
    grid = RoundGrid(world, pacing=PACING, clock=world.clock, sleep=world.sleep)
    for number in range(data.draw(st.integers(1, 3), label="rounds")):
        behaviour = {node: data.draw(Behaviour, label=f"round {number} node {node}") for node in bad}
        world.delays = {node: [taken, taken] for node, taken in zip(nodes, honest, strict=True)}
        world.delays |= {node: [behaviour[node][0]] * 2 for node in bad}
        accepted, begin = set(), world.now
        replies = grid.exchange(
            messages(*nodes, *bad),
            timeout_s=TIMEOUT_S,
            enough=lambda accepted=accepted: len(accepted) >= len(nodes),
            is_valid=lambda reply, accepted=accepted: reply.node_id in accepted,
            work=f"train {number}",
        )
        for reply in replies:
            if reply.node_id in nodes or behaviour[reply.node_id][1]:
                accepted.add(reply.node_id)
        bound = max(PACING.grace_floor_s, PACING.grace_factor * (max(honest) + SLACK_S))
        assert world.now - begin <= bound + SLACK_S


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("polls", "holds"),
    [
        ([], True),
        ([(0.01, 0)], False),  # Flower's own
        ([(1.0, 0)], True),
        ([(0.01, 2)], True),  # a reply was there: it says nothing
        ([(0.01, 0), (0.01, 2)], False),
        ([(0.01, 0), (1.0, 0)], True),
    ],
)
def test_a_poll_that_took_long_for_nothing_was_held(polls, holds):
    clock = Clock()
    found = Polls(Pacing(), clock)
    for seconds_, replies in polls:

        def pull(message_ids, hold_s, seconds_=seconds_, replies=replies):
            assert (message_ids, hold_s) == (["id"], Pacing().hold_s)
            clock.now += seconds_
            return ["reply"] * replies

        assert len(list(found.replies(pull, {"id": 1}, 600.0))) == replies
    assert found.holds is holds


@pytest.mark.parametrize(("left_s", "hold_s"), [(0.2, 0.2), (-1.0, 0.0)])
def test_a_poll_at_the_end_of_a_phase_is_not_held_beyond_it_and_teaches_nothing(left_s, hold_s):
    asked = []
    found = Polls(Pacing(), Clock())
    pull = lambda _, hold_s: asked.append(hold_s) or []  # noqa: E731
    list(found.replies(pull, {"id": 1}, left_s))
    assert asked == [hold_s]
    assert found.holds is (hold_s > 0), "one that may not be held is followed by a pause"
    list(found.replies(lambda *_: ["reply"], {"id": 1}, 600.0))
    assert found.holds


def test_a_superlink_that_holds_is_asked_again_at_once():
    assert pause_s(100.0, 2, 600.0, Pacing(), holds=True) == pytest.approx(0.001)
    assert pause_s(100.0, 1000, 600.0, Pacing(), holds=True) == pytest.approx(0.5)
    assert pause_s(599.9, 1000, 600.0, Pacing(), holds=True) == pytest.approx(0.1)
