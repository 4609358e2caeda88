"""Clients that come and go are named, each once."""

from oneflower.journal import Journal, read_journal
from oneflower.training.phases import Phases


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
    told = [(e["event"], e["client"], e["connected"]) for e in read_journal(tmp_path / "journal.jsonl")]
    assert told == [
        ("client_joined", "1", 2),
        ("client_joined", "2", 2),
        ("client_left", "1", 2),
        ("client_joined", "3", 2),
        ("client_left", "2", 0),
        ("client_left", "3", 0),
    ]
