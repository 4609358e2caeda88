"""What only all updates of a round together can tell."""

import numpy as np

from oneflower.aggregation import check_together, ordered
from oneflower.codes import LeftOutCode

from .conftest import update

WEIGHTS = np.ones(3, np.float32)


def test_valid_updates_come_out_in_the_fixed_order():
    sent = [update(WEIGHTS, client=i, num_examples=float(10 - i)) for i in range(5)]
    assert check_together(sent).valid == ordered(sent) == check_together(sent[::-1]).valid


def test_an_absurd_count_of_examples_leaves_its_client_out():
    sent = [update(WEIGHTS, client=i, num_examples=n) for i, n in enumerate([100.0, 1e12, 120.0])]
    checked = check_together(sent)
    assert {each.client for each in checked.valid} == {0, 2}
    (rejected,) = checked.rejected
    assert (rejected.client, rejected.code) == (1, LeftOutCode.NUM_EXAMPLES)
    assert "1000 times the median" in rejected.reason


def test_a_client_without_the_metrics_of_the_others_is_left_out_and_one_with_more_is_a_remark():
    sent = [update(WEIGHTS, client=i, loss=0.5) for i in range(3)]
    silent, chatty = update(WEIGHTS, client=3), update(WEIGHTS, client=4, loss=0.1, mood=7.0)
    checked = check_together([chatty, silent, *sent])
    assert [(each.client, each.code) for each in checked.rejected] == [(3, LeftOutCode.METRICS)]
    assert [(each.client, "mood" in each.reason) for each in checked.remarks] == [(4, True)]
    assert chatty in checked.valid


def test_a_client_with_an_absurd_count_does_not_say_which_metrics_are_expected():
    sent = [update(WEIGHTS, client=0, loss=1.0), update(WEIGHTS, client=1, num_examples=1e12, mood=1.0)]
    checked = check_together(sent)
    assert [each.client for each in checked.valid] == [0]


def test_no_updates_are_no_problem():
    assert check_together([]).valid == ()


def test_the_names_of_metrics_do_not_fill_the_log():
    sent = [
        update(WEIGHTS, client=0),
        update(WEIGHTS, client=1),
        update(WEIGHTS, client=2, **{"x" * 9_999: 1.0}),
    ]
    assert len(check_together(sent).remarks[0].reason) <= 300
