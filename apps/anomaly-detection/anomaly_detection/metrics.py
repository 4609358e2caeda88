"""How well a score separates anomalies from normal rows: ROC AUC, average precision, confusion."""

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Labels = NDArray[np.int64]


def roc_auc(scores: Scores, labels: Labels) -> float:
    """Return the probability that an anomaly scores above a normal row; a tie counts half.

    Computed from mid-ranks, as the Mann-Whitney U statistic: Hanley and McNeil (1982).
    """
    _, place, ties = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(ties)
    mid_rank = last - (ties - 1) / 2
    positives = int(labels.sum())
    negatives = len(labels) - positives
    surplus = mid_rank[place][labels == 1].sum() - positives * (positives + 1) / 2
    return float(surplus / (positives * negatives))


def average_precision(scores: Scores, labels: Labels) -> float:
    """Return the precision at every threshold, weighted by the recall that the threshold adds."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=np.nan))  # equal scores share one threshold
    found = np.cumsum(labels[order])[ends]
    precision = found / (ends + 1)
    return float((np.diff(found, prepend=0) * precision).sum() / labels.sum())


def confusion(flagged: NDArray[np.bool_], labels: Labels) -> dict[str, int]:
    """Count true and false positives and negatives."""
    anomalous = labels == 1
    return {
        "true_positives": int((flagged & anomalous).sum()),
        "false_positives": int((flagged & ~anomalous).sum()),
        "true_negatives": int((~flagged & ~anomalous).sum()),
        "false_negatives": int((~flagged & anomalous).sum()),
    }
