"""A training of the campaign with a few faults of every kind; `make campaign` runs all of them."""

import random

import pytest
from campaign import CLUSTERS, INTERVALS, STRATEGIES, Amounts, Case, campaign, cases
from faults import BELOW, KILL, draw, seeded

FEW = Amounts(kills=4, stops=1, for_ever=1, disks=1, journals=1)


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_after_faults_of_every_kind_the_model_is_that_of_an_undisturbed_training(tmp_path, numpy_app):
    case = Case(strategy="krum", interval=3, cluster="supervise")
    (result,) = campaign(tmp_path, numpy_app, [case], seed=11, amounts=FEW, minutes=60)
    assert not result.problem
    assert result.made[KILL] == FEW.kills


def test_a_seed_draws_the_same_faults_again_and_another_one_others():
    amounts = {"kills": 15, "stops": 2, "for_ever": 2, "disks": 2, "journals": 2, "kinds": BELOW}
    first, again, other = (draw(seeded(seed, "krum", 1), **amounts) for seed in (1, 1, 2))
    assert first == again != other
    assert len(first) == 23
    assert sum(fault.name == KILL for fault in draw(random.Random(3), **amounts)) == 15


def test_every_strategy_meets_every_interval_and_the_first_pass_all_of_both():
    found = cases()
    assert {(case.strategy, case.interval) for case in found} == {
        (s, i) for s in STRATEGIES for i in INTERVALS
    }
    first = found[: len(STRATEGIES)]
    assert {case.strategy for case in first} == set(STRATEGIES)
    assert {case.interval for case in first} == set(INTERVALS)
    assert {case.cluster for case in first} == set(CLUSTERS)
