"""Clients that come and go are named, each once."""

from oneflower.flower.client_mark import ClientMark
from oneflower.journal import Journal
from oneflower.training.phases import Phases

from ..making import events_in


class Nodes:
    """Plays a RoundGrid whose nodes a test sets."""

    def __init__(self):
        self.nodes = []

    def online(self):
        return list(self.nodes)

    def wait_for_nodes(self, needed, *, timeout_s, on_wait):
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
