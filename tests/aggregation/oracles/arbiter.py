"""Who is right where a rule and an oracle differ: the papers' selection in numbers of 80 bits."""

import numpy as np

TIE = 1e-5
"""Scores that differ by this share are a tie: float32 distances have an error of 3e-6."""


def squared_distances(rows):
    """Return the squared distances of rows, each from its own differences: no cancellation, no overflow."""
    wide = np.asarray(rows).astype(np.longdouble)
    return np.array([np.square(wide - row).sum(axis=1) for row in wide])


def scores(distances, malicious):
    """Return Krum's score of each: the sum of its n - f - 2 least distances (Blanchard et al. 2017)."""
    others = np.sort(distances + np.diag(np.full(len(distances), np.inf, distances.dtype)), axis=1)
    return others[:, : max(1, len(distances) - malicious - 2)].sum(axis=1)


def majority_radius(rows):
    """Return the least distance at which a row has a majority of all within it, itself among them."""
    distances = np.sort(squared_distances(rows), axis=1)
    return float(np.sqrt(distances[:, len(distances) // 2].min()))


def is_best(values, chosen):
    """Return whether the chosen are the least of the values, up to a tie."""
    least = np.sort(values)[: len(chosen)]
    return bool((np.sort(values[list(chosen)]) <= least * (1 + TIE)).all())


def are_tied(values, count):
    """Return whether which are the `count` least is a tie."""
    ranked = np.sort(values)
    return count < len(ranked) and bool(ranked[count] <= ranked[count - 1] * (1 + TIE))


def iterated(distances, malicious, count):
    """Return whether iterating Krum meets a tie, and what it selects (El Mhamdi et al. 2018)."""
    left, tied = list(range(len(distances))), False
    for _ in range(count):
        found = scores(distances[np.ix_(left, left)], malicious)
        tied = tied or are_tied(found, 1)
        left.pop(int(np.argmin(found)))
    return tied, sorted(set(range(len(distances))) - set(left))


def further(rows, one, other):
    """Return how much larger the sum of distances to the rows is at one point than at another.

    Each term is |x - a| - |x - b| = (b - a)(2x - a - b) / (|x - a| + |x - b|): far rows cancel no digits.
    """
    x, a, b = (np.asarray(each).astype(np.longdouble) for each in (rows, one, other))
    lengths = np.sqrt(np.square(x - a).sum(axis=1)) + np.sqrt(np.square(x - b).sum(axis=1))
    products = ((2 * x - a - b) * (b - a)).sum(axis=1)
    return float(np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0).sum())
