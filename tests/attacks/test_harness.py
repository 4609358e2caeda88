"""The attacker of this suite is heard: without an attack it is a client like others."""

import pytest

from .attacker import answering, honest_content

pytestmark = [pytest.mark.attacks, pytest.mark.timeout(600), pytest.mark.xdist_group("attacks-harness")]


def test_an_attacker_that_behaves_counts_as_a_third_client(cluster, attacker):
    with answering(attacker, lambda client, asked: client.push_content(asked, honest_content(asked))):
        cluster.wait_for("round_completed", valid=3)
    assert not cluster.left_out(attacker.id, "client_quarantined")
    assert not cluster.honest_left_out()


def test_an_attacker_that_only_fails_leaves_the_bytes_of_the_honest(cluster, attacker):
    with answering(attacker, lambda client, asked: client.push_error(asked, "no")) as asked:
        cluster.wait_until(lambda: len(asked) >= 2)
        cluster.rounds_after(cluster.last_round)
    assert "no" in {event.reason for event in cluster.left_out(attacker.id)}
    assert not cluster.honest_left_out()
