"""Shares of one data set: together all of it, disjoint, the same for everyone who computes them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.errors import AppError
from oneflower.sdk import partition


@given(count=st.integers(1, 300), parts=st.integers(1, 20), seed=st.integers(0, 2**32 - 1))
def test_iid_shares_are_a_partition_of_nearly_equal_sizes(count, parts, seed):
    if count < parts:
        with pytest.raises(AppError, match="cannot be split"):
            partition.iid(count, parts, 0, seed)
        return
    shares = [partition.iid(count, parts, part, seed) for part in range(parts)]
    assert sorted(np.concatenate(shares)) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(parts=st.integers(1, 8), alpha=st.floats(0.3, 100), seed=st.integers(0, 2**32 - 1))
def test_dirichlet_shares_are_a_partition_with_a_tenth_of_an_equal_share_each(parts, alpha, seed):
    labels = np.arange(1000) % 10
    shares = [partition.dirichlet(labels, parts, part, alpha=alpha, seed=seed) for part in range(parts)]
    assert sorted(np.concatenate(shares)) == list(range(1000))
    assert min(map(len, shares)) >= 1000 // parts // 10


def test_a_small_alpha_skews_the_labels_and_a_large_one_does_not():
    labels = np.arange(5000) % 10
    largest = {}
    for alpha in (0.1, 1000.0):
        share = labels[partition.dirichlet(labels, 5, 0, alpha=alpha, seed=1)]
        largest[alpha] = np.bincount(share, minlength=10).max() / len(share)
    assert largest[1000.0] < 0.12
    assert largest[0.1] > 0.3


def test_a_skew_that_starves_a_partition_is_refused_in_words():
    with pytest.raises(AppError, match="Raise dirichlet-alpha"):
        partition.dirichlet(np.arange(40) % 2, 20, 0, alpha=0.01, seed=1)


@given(count=st.integers(0, 200), fraction=st.floats(0, 1), seed=st.integers(0, 100))
def test_held_out_rows_are_disjoint_from_the_kept_ones(count, fraction, seed):
    kept, held = partition.hold_out(count, fraction, seed)
    assert sorted([*kept, *held]) == list(range(count))
    assert len(held) == round(count * fraction)
