"""The short forms of `make fuzz`."""

import pytest

from .fuzz import fuzz, fuzz_cluster

pytestmark = [pytest.mark.attacks, pytest.mark.timeout(600), pytest.mark.xdist_group("attacks-fuzz")]


def test_mutated_replies_are_left_out_one_by_one():
    outcomes = fuzz(8, seed=1)
    assert len(outcomes) > 5


def test_a_cluster_goes_on_under_mutated_replies(cluster):
    assert fuzz_cluster(cluster, 15, seed=1)
    cluster.check_unharmed(bytes_too=False)
