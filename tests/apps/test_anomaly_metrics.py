"""The metrics and the standardisation of the anomaly app, compared with their definitions."""

import numpy as np
import pytest
from anomaly_detection.metrics import average_precision, confusion, roc_auc
from hypothesis import given
from hypothesis import strategies as st

from oneflower.errors import AppError
from oneflower.sdk.moments import Moments, median, pooled

scored = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=2, max_size=40).filter(
    lambda rows: 0 < sum(label for _, label in rows) < len(rows)
)


def split(rows):
    return np.array([score for score, _ in rows], dtype=float), np.array([label for _, label in rows])


@given(scored)
def test_roc_auc_is_the_share_of_pairs_in_the_right_order_and_half_of_the_ties(rows):
    scores, labels = split(rows)
    pairs = [np.sign(a - b) / 2 + 0.5 for a in scores[labels == 1] for b in scores[labels == 0]]
    assert roc_auc(scores, labels) == pytest.approx(np.mean(pairs))


@given(scored)
def test_average_precision_sums_precision_over_the_recall_that_each_threshold_adds(rows):
    scores, labels = split(rows)
    total, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        taken = scores >= threshold
        now = labels[taken].sum() / labels.sum()
        total += labels[taken].mean() * (now - recall)
        recall = now
    assert average_precision(scores, labels) == pytest.approx(total)


def test_confusion_counts_every_row_once():
    flagged = np.array([True, True, False, False, False])
    labels = np.array([1, 0, 0, 0, 1])
    assert confusion(flagged, labels) == {
        "true_positives": 1,
        "false_positives": 1,
        "true_negatives": 2,
        "false_negatives": 1,
    }


@given(seed=st.integers(0, 1000), nodes=st.integers(1, 6), offset=st.sampled_from([0.0, 1e4]))
def test_pooled_sums_give_the_mean_and_deviation_of_all_rows_together(seed, nodes, offset):
    """With a large offset, a difference of two large sums would lose the variance."""
    rng = np.random.default_rng(seed)
    parts = [rng.normal(offset, 1, (rng.integers(10, 60), 3)).astype(np.float32) for _ in range(nodes)]
    mean, deviation = pooled([Moments.of(rows) for rows in parts])
    together = np.concatenate(parts).astype(np.float64)
    np.testing.assert_allclose(mean, together.mean(axis=0), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(deviation, together.std(axis=0), rtol=1e-8)


def test_one_false_report_hardly_changes_the_median_and_moves_the_pooled_mean_within_its_bound():
    rng = np.random.default_rng(1)
    honest = [Moments.of(rng.normal(5, 2, (100, 2)).astype(np.float32)) for _ in range(4)]
    liar = Moments(count=100, mean=np.full(2, 1e12), squares=np.full(2, 1e30))
    mean, deviation = median([*honest, liar])
    assert np.allclose(mean, 5, atol=1)
    assert np.allclose(deviation, 2, atol=1)
    assert 2 < (pooled([*honest, liar])[0] - 5).max() < 20 * 3


def test_a_node_with_few_rows_does_not_send_its_sums():
    with pytest.raises(AppError, match="single rows"):
        Moments.of(np.zeros((9, 2), dtype=np.float32))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"count": 3}, "expected at least 10"),
        ({"mean": np.zeros(3)}, "shape"),
        ({"mean": np.array([0.0, np.nan])}, "not finite"),
        ({"squares": np.array([1.0, -1.0])}, "negative"),
    ],
)
def test_impossible_sums_are_refused_with_the_reason(change, words):
    good = {"count": 10, "mean": np.zeros(2), "squares": np.ones(2)}
    assert Moments(**good).problem(2) is None
    assert words in Moments(**good | change).problem(2)
