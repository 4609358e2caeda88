"""Finite and absurd: a member that sends the largest numbers, or claims to have all data, steers nothing."""

import numpy as np
import pytest

from oneflower.checkpoints import CheckpointReader
from oneflower.codes import LeftOutCode

from .attacker import answering, honest_content

pytestmark = [pytest.mark.attacks, pytest.mark.timeout(600), pytest.mark.xdist_group("attacks-plausible")]


def models_since(cluster, number):
    """Return the arrays of every checkpoint after a round."""
    reader = CheckpointReader(cluster.state / "checkpoints")
    return [reader.load(each).arrays for each in reader.rounds() if each > number]


def bounded(cluster, attacker):
    return [event for event in cluster.events("client_bounded") if event.client == str(attacker.id)]


@pytest.mark.parametrize("fill", [3.4e38, -3.4e38, 1e22])
def test_the_largest_numbers_do_not_carry_the_model_away(cluster, attacker, fill):
    """Row 4: the accuracy fell to a guess, the honest clients sent NaN, and every resume began from there."""
    before = cluster.last_round

    def largest(client, asked):
        with np.errstate(over="ignore"):
            client.push_content(asked, honest_content(asked, fill=fill))

    with answering(attacker, largest) as asked:
        cluster.wait_until(lambda: len(asked) >= 3)
        cluster.rounds_after(cluster.last_round)
    events = bounded(cluster, attacker)
    assert events
    assert {event.code for event in events} == {LeftOutCode.CHANGE}
    assert "times as large as the median of the round" in events[0].reason
    models = models_since(cluster, before)
    assert len(models) >= 3
    for arrays in models:
        assert all(np.abs(array).max() < 1e3 for array in arrays.values())
    assert not cluster.honest_left_out()
    assert not cluster.events("round_failed", "training_went_back", "app_failed")


def test_a_member_that_claims_all_the_data_is_counted_as_a_few_times_the_median(cluster, attacker):
    """Row 20: with 999 times the median it was 99 % of the mean among ten."""

    def heavy(client, asked):
        client.push_content(asked, honest_content(asked, num_examples=10**9))

    with answering(attacker, heavy) as asked:
        cluster.wait_until(lambda: len(asked) >= 2)
        cluster.rounds_after(cluster.last_round)
    events = [event for event in bounded(cluster, attacker) if event.code is LeftOutCode.NUM_EXAMPLES]
    assert "expected at most 20 times the median of the round" in events[0].reason
    assert not cluster.honest_left_out()


def test_a_member_with_metrics_of_its_own_has_nobody_left_out(cluster):
    """Row 19: more sybils than honest clients, all with one more metric."""
    first, second, third = (cluster.attacker() for _ in range(3))

    def chatty(client, asked):
        client.push_content(asked, honest_content(asked, x=1.0))

    with answering(first, chatty), answering(second, chatty), answering(third, chatty):
        cluster.wait_for("round_completed", valid=5)
    assert not cluster.honest_left_out()
