"""The grid in simulated time: when it asks, what it sends again, whom it stops waiting for."""

from dataclasses import dataclass, field

import pytest
from flwr.app.error import Error
from flwr.common import Message, MessageType, MetricRecord, RecordDict

from oneflower.flower.grid import Pacing, RoundGrid


@dataclass
class World:
    """A SuperLink in simulated time; `delays[node]` lists the seconds of its answers, None: never."""

    nodes: list[int]
    delays: dict[int, list[float | None]] = field(default_factory=dict)
    errors: set[int] = field(default_factory=set)
    now: float = 0.0
    pulls: list[float] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    ready: dict[str, tuple[float, Message]] = field(default_factory=dict)

    def sleep(self, seconds):
        self.now += seconds

    def clock(self):
        return self.now

    def get_node_ids(self):
        return list(self.nodes)

    def push_messages(self, messages):
        ids = []
        for message in messages:
            node = message.metadata.dst_node_id
            message_id = f"m{len(self.sent)}"
            self.sent.append(node)
            vars(message.metadata).update(_message_id=message_id, _src_node_id=1, _run_id=1)
            delay = self.delays.get(node, [1.0]).pop(0) if self.delays.get(node, [1.0]) else None
            if delay is not None:
                self.ready[message_id] = (self.now + delay, self._answer(message, node))
            ids.append(message_id)
        return ids

    def _answer(self, message, node):
        if node in self.errors:
            return Message(Error(code=5, reason="node gone"), reply_to=message)
        return Message(RecordDict({"metrics": MetricRecord({"node": node})}), reply_to=message)

    def pull_messages(self, ids):
        self.pulls.append(self.now)
        return [self.ready.pop(i)[1] for i in list(ids) if i in self.ready and self.ready[i][0] <= self.now]


def messages(*nodes):
    return [Message(RecordDict(), node, MessageType.TRAIN) for node in nodes]


def grid_of(world, **pacing):
    return RoundGrid(world, pacing=Pacing(**pacing), clock=world.clock, sleep=world.sleep)


def answered(replies):
    return sorted(reply.node_id for reply in replies)


def test_every_reply_is_handed_on_when_it_comes():
    """A reply does not wait for the slower ones: its check can overlap with the waiting."""
    world = World(nodes=[1, 2], delays={1: [1.0], 2: [30.0]})
    seen = [(reply.node_id, world.now) for reply in grid_of(world).exchange(messages(1, 2), timeout_s=100)]
    assert [node for node, _ in seen] == [1, 2]
    assert seen[0][1] < 2
    assert 30 <= seen[1][1] < 34


def test_polling_is_fast_at_first_and_slower_in_a_long_round():
    world = World(nodes=[1], delays={1: [300.0]})
    list(grid_of(world).exchange(messages(1), timeout_s=1000))
    pauses = [later - earlier for earlier, later in zip(world.pulls, world.pulls[1:], strict=False)]
    assert pauses[0] == pytest.approx(0.2)
    assert max(pauses) == pytest.approx(3.0)
    assert len(world.pulls) < 200


def test_many_nodes_are_polled_less_often():
    """The SuperLink's database serves about a hundred pulls a second: nodes/50 seconds is the least pause."""
    nodes = list(range(1, 201))
    world = World(nodes=nodes, delays={node: [1.0] for node in nodes} | {1: [9.0]})
    list(grid_of(world).exchange(messages(*nodes), timeout_s=100))
    pauses = [later - earlier for earlier, later in zip(world.pulls, world.pulls[1:], strict=False)]
    assert min(pauses) >= 4.0 - 1e-9


def test_a_reply_that_comes_just_before_the_deadline_is_not_lost():
    """Flower's own Grid does not poll after its last sleep."""
    world = World(nodes=[1], delays={1: [9.99]})
    assert answered(grid_of(world).exchange(messages(1), timeout_s=10)) == [1]


def test_the_timeout_ends_a_phase_that_nobody_answers():
    world = World(nodes=[1], delays={1: [None, None]})
    assert answered(grid_of(world).exchange(messages(1), timeout_s=50)) == []
    assert world.now == pytest.approx(50)


def test_a_silent_node_gets_its_work_once_more_and_its_first_answer_counts():
    """A message marked delivered is never sent again by Flower; one that was lost must be."""
    world = World(nodes=[1, 2, 3], delays={1: [1.0], 2: [1.0], 3: [None, 1.0]})
    replies = list(grid_of(world).exchange(messages(1, 2, 3), timeout_s=3600))
    assert answered(replies) == [1, 2, 3]
    assert world.sent == [1, 2, 3, 3]
    assert world.now < 10


def test_work_is_sent_again_only_once():
    world = World(nodes=[1, 2], delays={1: [1.0], 2: [None, None, 1.0]})
    replies = list(grid_of(world).exchange(messages(1, 2), timeout_s=200))
    assert answered(replies) == [1]
    assert world.sent.count(2) == 2


def test_a_slow_node_is_not_asked_twice_once_its_pace_is_known():
    world = World(nodes=[1, 2], delays={1: [1.0] * 2, 2: [4.0, 7.0]})
    grid = grid_of(world)
    list(grid.exchange(messages(1, 2), timeout_s=100))
    list(grid.exchange(messages(1, 2), timeout_s=100))
    world.delays[1], world.delays[2] = [1.0], [13.0]
    list(grid.exchange(messages(1, 2), timeout_s=100))
    assert world.sent.count(2) == 3


def test_when_all_messages_are_lost_all_are_sent_again():
    """A cut of all links marks every message delivered; nobody answers first to measure the others by."""
    world = World(nodes=[1, 2], delays={1: [1.0, None, 1.0], 2: [1.0, None, 1.0]})
    grid = grid_of(world)
    list(grid.exchange(messages(1, 2), timeout_s=3600))
    before = world.now
    assert answered(grid.exchange(messages(1, 2), timeout_s=3600)) == [1, 2]
    assert world.now - before < 10


def test_a_node_that_is_offline_gets_nothing_again():
    world = World(nodes=[1], delays={1: [1.0], 2: [None]})
    list(grid_of(world).exchange(messages(1, 2), timeout_s=60))
    assert world.sent == [1, 2]


def test_an_error_for_the_first_message_does_not_hide_the_answer_to_the_second():
    world = World(nodes=[1, 2], delays={1: [1.0], 2: [40.0, 45.0]}, errors={2})
    grid = grid_of(world)
    replies = []
    for reply in grid.exchange(messages(1, 2), timeout_s=100):
        replies.append(reply)
        world.errors.clear()
    assert [(r.node_id, r.message.has_error()) for r in replies] == [(1, False), (2, False)]


def test_with_a_quorum_the_rest_gets_a_grace_period_only():
    world = World(nodes=[1, 2, 3], delays={1: [1.0], 2: [1.0], 3: [None, None]})
    seen = []
    seen.extend(grid_of(world).exchange(messages(1, 2, 3), timeout_s=3600, enough=lambda: len(seen) >= 2))
    assert answered(seen) == [1, 2]
    assert 60 <= world.now < 65


def test_a_node_that_never_answered_is_not_sampled_until_its_lease_is_over():
    world = World(nodes=[1, 2], delays={1: [1.0], 2: [None, None]})
    grid = grid_of(world)
    list(grid.exchange(messages(1, 2), timeout_s=30))
    assert grid.available() == [1]
    world.now += 66
    assert grid.available() == [1, 2]


def test_a_late_answer_is_drained_and_proves_its_node_alive():
    world = World(nodes=[1, 2], delays={1: [1.0, 1.0], 2: [40.0, None, 1.0]})
    grid = grid_of(world)
    list(grid.exchange(messages(1, 2), timeout_s=30))
    world.now += 15
    assert grid.wait_for_nodes(2, timeout_s=20) == [1, 2]
    assert not world.ready


def test_an_answer_to_earlier_work_is_no_answer_to_this():
    """A slow node's reply of round 1 must not be taken for that of round 2, which would never be sent."""
    world = World(nodes=[1, 2], delays={1: [1.0, 1.0], 2: [40.0, None, 12.0]})
    grid = grid_of(world)
    assert answered(grid.exchange(messages(1, 2), timeout_s=30, work="train 1")) == [1]
    begin = len(world.sent)
    replies = {reply.node_id: reply for reply in grid.exchange(messages(1, 2), timeout_s=60, work="train 2")}
    assert world.sent[begin : begin + 2] == [1, 2]
    assert replies[2].message.metadata.reply_to_message_id == f"m{begin + 1}"
    assert replies[2].seconds == pytest.approx(12, abs=1)


def test_a_second_answer_to_work_that_was_sent_again_counts_for_nothing():
    world = World(nodes=[1, 2], delays={1: [1.0, 1.0], 2: [10.0, 11.0, 3.0]})
    grid = grid_of(world)
    list(grid.exchange(messages(1, 2), timeout_s=60, work="train 1"))
    assert world.sent == [1, 2, 2]
    replies = {reply.node_id: reply for reply in grid.exchange(messages(1, 2), timeout_s=60, work="train 2")}
    assert replies[2].message.metadata.reply_to_message_id == "m4"


def test_waiting_for_nodes_is_reported_and_ends_at_its_timeout():
    world = World(nodes=[1])
    seen = []
    assert grid_of(world).wait_for_nodes(2, timeout_s=12, on_wait=lambda n, _: seen.append(n)) == [1]
    assert seen == [1, 1, 1]
    assert world.now == pytest.approx(12)


def test_a_cohort_is_all_that_sampling_sees():
    grid = grid_of(World(nodes=[3, 1, 2]))
    grid.set_cohort([2, 1])
    assert grid.get_node_ids() == [1, 2]
    grid.set_cohort(None)
    assert sorted(grid.get_node_ids()) == [1, 2, 3]


def test_flowers_own_call_still_works():
    world = World(nodes=[1], delays={1: [2.0]})
    assert len(list(grid_of(world).send_and_receive(messages(1)))) == 1


# --- whose times count ---------------------------------------------------------------------------------


def test_a_node_that_was_slow_once_does_not_make_later_rounds_slower():
    """One stop of 10 s gave rounds of 12.7, 26.9 and 82.6 s: each lost message doubled the patience."""
    world = World(nodes=[1, 2], delays={1: [1.0] * 20, 2: [1.0, 1.0, 10.0, 1.0]})
    grid, took = grid_of(world), []
    for number in range(6):
        if number > 2:
            world.delays[2] = [None, 1.0]  # the message is lost, and sent again
        begin = world.now
        work = f"train {number}"
        assert answered(grid.exchange(messages(1, 2), timeout_s=3600, work=work)) == [1, 2]
        took.append(world.now - begin)
    assert max(took[3:]) < 8


class Busy(World):
    """Nodes that do one message after the other; node 2 is stopped for 10 s from second 20 on."""

    def push_messages(self, messages):
        ids = list(super().push_messages(messages))
        for message_id in ids:
            _, answer = self.ready[message_id]
            node = answer.metadata.src_node_id
            begin = max(self.now, self.free.get(node, 0.0))
            end = begin + 2.7
            if node == 2 and begin < 30 and end > 20:
                end += 10
            self.free[node] = end
            self.ready[message_id] = (end, answer)
        return ids


def test_a_stop_of_ten_seconds_costs_ten_seconds_and_the_work_that_was_sent_again():
    """In a real cluster the rounds after it took 26.9 and 82.6 s."""
    world = Busy(nodes=[1, 2, 3], delays={node: [0.0] * 99 for node in (1, 2, 3)})
    world.free = {}
    grid, took = grid_of(world), []
    for number in range(15):
        begin = world.now
        assert len(list(grid.exchange(messages(1, 2, 3), timeout_s=3600, work=f"train {number}"))) == 3
        took.append(world.now - begin)
    assert 10 < max(took) < 15
    assert sum(each > 9 for each in took) == 1
    assert max(took[-4:]) < 4


def test_how_long_a_node_takes_is_measured_from_the_message_that_it_answers():
    world = World(nodes=[1], delays={1: [1.0, None, 1.0, None, 1.0, None, 1.0]})
    grid = grid_of(world)
    for _ in range(4):
        (reply,) = grid.exchange(messages(1), timeout_s=3600)
        assert reply.seconds < 8


@pytest.mark.parametrize("late_s", [20.0, 55.0, 59.0])
def test_a_reply_that_is_not_valid_lengthens_no_phase(late_s):
    """NaN after 55 s and a node that was silent made a round of 277 s."""
    world = World(nodes=[1, 2, 3, 4], delays={1: [1.0], 2: [1.0], 3: [late_s] * 2, 4: [None, None]})
    good = []
    replies = grid_of(world).exchange(
        messages(1, 2, 3, 4),
        timeout_s=3600,
        enough=lambda: len(good) >= 2,
        is_valid=lambda reply: reply.node_id < 3,
    )
    good.extend(reply for reply in replies if reply.node_id < 3)
    assert len(good) == 2
    assert world.now < 65


def test_a_valid_reply_after_the_quorum_lengthens_no_phase():
    world = World(nodes=[1, 2, 3, 4], delays={1: [1.0], 2: [1.0], 3: [55.0] * 2, 4: [None, None]})
    seen = []
    seen.extend(grid_of(world).exchange(messages(1, 2, 3, 4), timeout_s=3600, enough=lambda: len(seen) >= 2))
    assert answered(seen) == [1, 2, 3]
    assert world.now < 65


def test_most_nodes_are_waited_for_where_a_few_reply_at_once():
    """A grace that follows the first quorum alone would leave out what is known to be slow."""
    slow = {node: [90.0] * 2 for node in (3, 4, 5)}
    world = World(nodes=[1, 2, 3, 4, 5], delays={1: [1.0] * 2, 2: [1.0] * 2, **slow})
    grid = grid_of(world)
    assert len(list(grid.exchange(messages(1, 2, 3, 4, 5), timeout_s=3600))) == 5
    world.delays = {1: [1.0], 2: [1.0], 3: [90.0], 4: [90.0], 5: [90.0]}
    seen = []
    seen.extend(grid.exchange(messages(1, 2, 3, 4, 5), timeout_s=3600, enough=lambda: len(seen) >= 2))
    assert answered(seen) == [1, 2, 3, 4, 5]


def test_after_a_deadline_nobody_is_waited_for():
    """The grace period is a minute at least; a deadline counts from the quorum."""
    world = World(nodes=[1, 2, 3], delays={1: [1.0], 2: [2.0], 3: [30.0]})
    seen = set()
    exchange = grid_of(world).exchange(
        messages(1, 2, 3), timeout_s=3600, enough=lambda: len(seen) >= 2, deadline_s=5.0
    )
    for reply in exchange:
        seen.add(reply.node_id)
    assert seen == {1, 2}
    assert 7.0 <= world.now < 8.0


def test_a_deadline_ends_no_phase_without_a_quorum():
    world = World(nodes=[1, 2], delays={1: [1.0], 2: [30.0]})
    replies = grid_of(world).exchange(messages(1, 2), timeout_s=3600, deadline_s=5.0)
    assert answered(replies) == [1, 2]


def test_a_node_that_is_late_is_drained_and_asked_again():
    world = World(nodes=[1, 2], delays={1: [1.0, 1.0], 2: [20.0, 20.0]})
    grid = grid_of(world)
    late = grid.exchange(messages(1, 2), timeout_s=3600, enough=lambda: True, deadline_s=5.0)
    assert answered(late) == [1]
    assert grid.available() == [1]
    world.now = 30.0
    assert answered(grid.exchange(messages(1), timeout_s=100)) == [1]
    assert grid.available() == [1, 2]
    assert not world.ready


def test_a_node_whose_reply_is_not_needed_is_neither_waited_for_nor_suspected():
    world = World(nodes=[1, 2, 3], delays={1: [1.0], 2: [2.0], 3: [30.0]})
    grid, seen = grid_of(world), set()
    for reply in grid.exchange(messages(1, 2, 3), timeout_s=3600, done=lambda: len(seen) == 2):
        seen.add(reply.node_id)
    assert seen == {1, 2}
    assert world.now < 3.0
    assert grid.available() == [1, 2, 3]
