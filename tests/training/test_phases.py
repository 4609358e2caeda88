"""Clients that come and go are named, each once."""

import pytest

from oneflower.flower.client_mark import ClientMark
from oneflower.flower.grid import RoundGrid
from oneflower.flower.parts import PartTable
from oneflower.journal import Journal
from oneflower.newest import MOST
from oneflower.parts import table_text
from oneflower.training.draw import Draw, Sampler
from oneflower.training.members import FAILURES, LET_BACK_S, Members
from oneflower.training.phases import Phases

from ..flower.test_grid import World, messages
from ..making import events_in


class Nodes:
    """Plays a RoundGrid whose nodes a test sets."""

    def __init__(self):
        self.nodes = []

    def online(self):
        return list(self.nodes)

    def wait_for_nodes(self, needed, *, timeout_s, on_wait, uncounted):
        return list(self.nodes)

    def set_cohort(self, nodes):
        pass


def test_who_has_joined_and_who_has_left_is_told_once(tmp_path):
    grid = Nodes()
    phases = Phases(grid=grid, journal=Journal(tmp_path / "journal.jsonl"), round_timeout_s=1)
    for online in ([1, 2], [1, 2], [2, 3], []):
        grid.nodes = online
        phases.gather_cohort(1)
    told = [(e.tag, e.client, e.connected) for e in events_in(tmp_path / "journal.jsonl")]
    assert told == [
        ("client_joined", "1", 2),
        ("client_joined", "2", 2),
        ("client_left", "1", 2),
        ("client_joined", "3", 2),
        ("client_left", "2", 0),
        ("client_left", "3", 0),
    ]


# --- what clients are called -------------------------------------------------------------------------


def named(federation):
    return {
        event.client: (event.name, event.partition)
        for event in events_in(federation.folder / "journal.jsonl")
        if event.tag == "client_named"
    }


def test_clients_are_named_once_a_run_and_in_the_log(federation, caplog):
    federation.train(num_server_rounds=2)
    assert named(federation) == {str(1000 + i): (f"client-{i}", i) for i in range(3)}
    assert "client named client=1000 name=client-0 partition=0" in caplog.text


def test_two_clients_of_one_name_are_told_apart_by_their_partitions():
    phases = Phases(grid=Nodes(), journal=None, round_timeout_s=1.0, connected={1, 2, 3})
    for node, partition in ((1, 0), (2, 1), (3, None)):
        phases._name(node, ClientMark(name="host", partition=partition))
    assert [phases.label(node) for node in (1, 2, 3, 4)] == ["host", "host/1", "host/3", "4"]


def test_a_client_that_comes_back_has_its_name_again():
    phases = Phases(grid=Nodes(), journal=None, round_timeout_s=1.0, connected={1})
    phases._name(1, ClientMark(name="host", partition=0))
    phases.connected.clear()
    phases.connected.add(2)
    phases._name(2, ClientMark(name="host", partition=0))
    assert phases.label(2) == "host"


# --- who makes up the number of clients ---------------------------------------------------------------


def test_a_client_that_only_fails_is_no_substitute_for_one_that_is_away():
    members = Members()
    members.attempted([1, 2, 3, 9], [1, 2, 3], passed=True)
    for _ in range(FAILURES - 1):
        members.attempted([1, 2, 9], [1, 2], passed=False)
    assert members.no_substitutes({1, 2, 9}) == {9}
    assert members.no_substitutes({1, 2, 3, 9}) == set()
    members.attempted([1, 2, 9], [1, 2, 9], passed=False)
    assert members.no_substitutes({1, 2, 9}) == set()


def test_in_the_first_attempts_a_failure_may_be_one_that_passes():
    members = Members()
    members.attempted([1, 2, 3], [1, 2, 3], passed=True)
    members.attempted([1, 2, 9], [1, 2], passed=False)
    assert members.no_substitutes({1, 2, 9}) == set()


def test_before_the_first_round_everybody_counts():
    members = Members()
    for _ in range(9):
        members.attempted([1, 9], [1], passed=False)
    assert members.no_substitutes({1, 9}) == set()


class Away(World):
    """Three clients; node 3 is away for a while in round 2, while node 9 answers each message at once."""

    away = (50.0, 650.0)
    errors = frozenset({9})

    def get_node_ids(self):
        begin, end = self.away
        return [1, 2, 9] if begin <= self.now < end else [1, 2, 3, 9]


@pytest.mark.parametrize("away_s", [60, 600, 7200])
def test_attempts_are_not_used_up_while_a_client_is_away(away_s):
    """One member that fails at once had all 11 attempts fail in 181 s, while another client restarted."""
    world = Away(nodes=[], delays={node: [1.0] * 99 for node in (1, 2, 3, 9)})
    world.away = (50.0, 50.0 + away_s)
    grid = RoundGrid(world, clock=world.clock, sleep=world.sleep)
    phases = Phases(grid=grid, journal=None, round_timeout_s=3600.0)
    for number in (1, 2):
        for attempt in range(1, 12):
            cohort = phases.gather_cohort(3, counted=True)
            sent = messages(*cohort)
            took = [each.node_id for each in grid.exchange(sent, timeout_s=60) if each.node_id != 9]
            phases.members.attempted(cohort, took, passed=len(took) == 3)
            if len(took) == 3:
                break
            phases.back_off(attempt)
        else:
            pytest.fail(f"round {number} failed 11 times in {world.now:.0f} s")
        world.now = max(world.now, 50.0)
    assert world.now >= world.away[1]


class GoneForGood(World):
    """Node 1 never comes back; node 3 failed in three rounds and is well now."""

    def get_node_ids(self):
        return [2, 3]


def test_one_that_failed_counts_again_where_the_other_one_does_not_come_back(tmp_path, caplog):
    """The round waited a whole FL_ROUND_TIMEOUT, and said that one client was connected while two were."""
    world = GoneForGood(nodes=[], delays={})
    grid = RoundGrid(world, clock=world.clock, sleep=world.sleep)
    journal = tmp_path / "journal.jsonl"
    phases = Phases(grid=grid, journal=Journal(journal), round_timeout_s=3600.0)
    for _ in range(FAILURES):
        phases.members.attempted([1, 2, 3], [1, 2], passed=True)
    with caplog.at_level("INFO"):
        assert phases.gather_cohort(2, counted=True) == [2, 3]
    assert LET_BACK_S <= world.now <= LET_BACK_S + 1
    assert "connected=2 needed=2 counted=1 failed_in_a_row=['3 (3 times)']" in caplog.text
    waiting = [each for each in events_in(journal) if each.tag == "waiting_for_clients"]
    assert {(each.connected, each.needed, each.failing) for each in waiting} == {(2, 2, ("3",))}


def test_each_attempt_that_failed_with_it_waits_twice_as_long_for_the_others():
    members = Members()
    for _ in range(FAILURES):
        members.attempted([1, 2, 3], [1, 2], passed=True)
    for wait_s in (LET_BACK_S, 2 * LET_BACK_S, 4 * LET_BACK_S):
        assert members.no_substitutes({2, 3}, wait_s - 1) == {3}
        assert members.no_substitutes({2, 3}, wait_s) == set()
        members.attempted([2, 3], [2], passed=False)
    members.attempted([2, 3], [2, 3], passed=True)
    assert members.let_back == 0
    assert members.trained == {2, 3}


def test_clients_that_join_again_and_again_do_not_fill_the_memory():
    members = Members()
    for node in range(3 * MOST // 2):
        members.attempted([0, node + 1], [0], passed=True)
    assert len(members.failures) == MOST
    assert 0 in members.failures, "who is asked in each round is not forgotten"


# --- clients that were drawn in addition --------------------------------------------------------------


def test_a_spare_that_is_not_needed_has_not_failed(tmp_path):
    world = World(nodes=[1, 2, 3], delays={1: [1.0], 2: [2.0], 3: [500.0]})
    journal = Journal(tmp_path / "journal.jsonl")
    grid = RoundGrid(world, clock=world.clock, sleep=world.sleep)
    phases = Phases(grid=grid, journal=journal, round_timeout_s=3600.0)
    draw = Draw(order=(2, 1, 3), slots=(0, 1, 2), wanted=2)
    collected = phases.collect(
        "train", 1, messages(1, 2, 3), quorum=lambda _: 2, parse=lambda reply: reply.node_id, draw=draw
    )
    assert sorted(collected.valid) == [1, 2]
    assert collected.nodes == {1, 2}
    assert world.now < 3.0
    assert {event.tag for event in events_in(tmp_path / "journal.jsonl")} == {"reply_received"}


def test_a_drawn_client_that_is_late_is_named_and_a_spare_counts(tmp_path):
    world = World(nodes=[1, 2, 3], delays={1: [1.0], 2: [500.0], 3: [2.0]})
    grid = RoundGrid(world, clock=world.clock, sleep=world.sleep)
    journal = Journal(tmp_path / "journal.jsonl")
    phases = Phases(grid=grid, journal=journal, round_timeout_s=3600.0, deadline_s=10.0)
    draw = Draw(order=(2, 1, 3), slots=(0, 1, 2), wanted=2)
    collected = phases.collect(
        "train", 1, messages(1, 2, 3), quorum=lambda _: 2, parse=lambda reply: reply.node_id, draw=draw
    )
    assert sorted(collected.valid) == [1, 3]
    assert draw.counted(collected.valid) == {1, 3}
    assert collected.nodes == {1, 2, 3}
    assert 12.0 <= world.now < 13.0
    (failed,) = [each for each in events_in(tmp_path / "journal.jsonl") if each.tag == "client_failed"]
    assert failed.client == "2"


def test_clients_are_asked_who_they_are_again_when_the_table_of_partitions_changes(tmp_path):
    forgotten = []

    class Roll:
        def forget(self):
            forgotten.append(True)

    table = tmp_path / "parts.json"
    phases = Phases(
        grid=Nodes(),
        journal=None,
        round_timeout_s=1.0,
        parts=PartTable(path=table),
        sampler=Sampler(seed=1, roll=Roll()),
    )
    for members, times in (((10, 11), 1), ((10, 11), 1), ((11, 12), 2)):
        table.write_text(table_text(members))
        phases.assign_parts(1)
        assert len(forgotten) == times
