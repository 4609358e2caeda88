"""The embedded cluster is booted as a whole where its SuperLink is of no use, and left alone where it is."""

import pytest

from oneflower.journal import Journal
from oneflower.local_cluster.place import ClusterPlace

from ..making import events_in


@pytest.fixture
def place(cluster, clock, tmp_path):
    return ClusterPlace(cluster, Journal(tmp_path / "journal.jsonl"), clock=clock)


def test_it_boots_what_does_not_run_and_writes_it_down(place, cluster, tmp_path):
    place.bring_up(anew=False)
    assert cluster.acts == ["stop", "start"]
    assert [event.nodes for event in events_in(tmp_path / "journal.jsonl")] == [2]


def test_what_runs_is_left_alone(place, cluster):
    cluster.up = True
    place.bring_up(anew=False)
    assert cluster.acts == []


def test_anew_means_anew(place, cluster):
    cluster.up = True
    place.bring_up(anew=True)
    assert cluster.acts == ["stop", "start"]


def test_the_log_that_an_error_shows_is_the_superlinks(place):
    assert place.tails() == "The end of superlink.log"
