"""The embedded cluster is restarted as a whole if its SuperLink does not work, and otherwise left running."""

import pytest

from oneflower.journal import Journal
from oneflower.local_cluster.place import ClusterPlace

from ..making import events_in


@pytest.fixture
def place(cluster, clock, tmp_path):
    return ClusterPlace(cluster, Journal(tmp_path / "journal.jsonl"), clock=clock)


def test_a_cluster_that_is_down_is_started_and_recorded_in_the_journal(place, cluster, tmp_path):
    place.bring_up(restart=False)
    assert cluster.acts == ["stop", "start"]
    assert [event.nodes for event in events_in(tmp_path / "journal.jsonl")] == [2]


def test_a_running_cluster_is_not_restarted(place, cluster):
    cluster.up = True
    place.bring_up(restart=False)
    assert cluster.acts == []


def test_a_requested_restart_stops_the_running_cluster(place, cluster):
    cluster.up = True
    place.bring_up(restart=True)
    assert cluster.acts == ["stop", "start"]


def test_errors_show_the_log_of_the_superlink(place):
    assert place.tails() == "The end of superlink.log"
