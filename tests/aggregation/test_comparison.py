"""What only all updates of a round together can tell."""

import numpy as np
import pytest

from oneflower.aggregation import check_together, ordered
from oneflower.codes import LeftOutCode

from .conftest import update

WEIGHTS = np.ones(3, np.float32)


def test_valid_updates_come_out_in_the_fixed_order():
    sent = [update(WEIGHTS, client=i, num_examples=float(10 - i)) for i in range(5)]
    assert check_together(sent).valid == ordered(sent) == check_together(sent[::-1]).valid


def test_a_count_of_examples_far_above_the_median_is_bounded_and_the_update_is_used():
    sent = [update(WEIGHTS, client=i, num_examples=n) for i, n in enumerate([100.0, 1e12, 120.0])]
    checked = check_together(sent, 10.0)
    assert {each.client: each.num_examples for each in checked.valid} == {0: 100.0, 1: 1200.0, 2: 120.0}
    (remark,) = checked.remarks
    assert (remark.client, remark.code) == (1, LeftOutCode.NUM_EXAMPLES)
    assert "at most 10 times the median" in remark.reason
    assert "counted as 1200" in remark.reason


def test_without_a_bound_and_within_it_every_update_is_the_one_that_was_sent():
    sent = [update(WEIGHTS, client=i, num_examples=n) for i, n in enumerate([100.0, 1e12, 120.0])]
    assert set(check_together(sent).valid) == set(sent)
    near = [update(WEIGHTS, client=i, num_examples=n) for i, n in enumerate([12.0, 300.0, 110.0, 80.0])]
    assert set(check_together(near, 10.0).valid) == set(near)
    assert check_together(near, 10.0).remarks == ()


@pytest.mark.parametrize("least", [0.4, 0.001, 5e-324])
@pytest.mark.parametrize("honest", [1, 3])
def test_as_many_tiny_counts_as_honest_ones_leave_nobody_out(honest, least):
    """They quarantined the honest half before: security.md, row 19."""
    sent = [update(WEIGHTS, client=i, num_examples=500.0) for i in range(honest)]
    sent += [update(WEIGHTS, client=60 + i, num_examples=least) for i in range(honest)]
    checked = check_together(sent, 10.0)
    total = sum(each.num_examples for each in checked.valid)
    assert len(checked.valid) == len(sent)
    assert sum(each.num_examples for each in checked.valid if each.client < 60) >= total / 2


def test_sybils_with_a_metric_of_their_own_leave_nobody_out():
    """They quarantined the honest minority before: security.md, row 19."""
    sent = [update(WEIGHTS, client=i, loss=0.1) for i in range(3)]
    sent += [update(WEIGHTS, client=60 + i, loss=0.1, x=1.0) for i in range(4)]
    checked = check_together(sent, 10.0)
    assert set(checked.valid) == set(sent)
    assert [(each.client, "['x'] are missing" in each.reason) for each in checked.remarks] == [
        (0, True),
        (1, True),
        (2, True),
    ]


def test_a_client_with_other_metrics_than_most_is_a_remark_and_its_update_is_used():
    sent = [update(WEIGHTS, client=i, loss=0.5) for i in range(3)]
    silent, chatty = update(WEIGHTS, client=3), update(WEIGHTS, client=4, loss=0.1, mood=7.0)
    checked = check_together([chatty, silent, *sent])
    assert [(each.client, each.code) for each in checked.remarks] == [
        (3, LeftOutCode.METRICS),
        (4, LeftOutCode.METRICS),
    ]
    assert "['loss'] are missing" in checked.remarks[0].reason
    assert "['mood'] are ignored" in checked.remarks[1].reason
    assert {chatty, silent} < set(checked.valid)


def test_no_updates_are_no_problem():
    assert check_together([]).valid == ()


def test_the_names_of_metrics_do_not_fill_the_log():
    sent = [
        update(WEIGHTS, client=0),
        update(WEIGHTS, client=1),
        update(WEIGHTS, client=2, **{"x" * 9_999: 1.0}),
    ]
    assert len(check_together(sent).remarks[0].reason) <= 300
