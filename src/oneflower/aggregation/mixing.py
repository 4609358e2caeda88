"""Nearest-neighbour mixing: each update is replaced by a mean of several, and these differ less."""

import numpy as np

from oneflower.aggregation.points import Points


def nearest_neighbours(points: Points, num_malicious: int) -> Points:
    """Return each point's mean with its n - f - 1 nearest others.

    Allouah et al. 2023, "Fixing by Mixing: A Recipe for Optimal Byzantine ML under Heterogeneity",
    algorithm 2 (NNM). Of two points equally far the first in the fixed order is taken.
    """
    nearest = np.argsort(points.central().distances, axis=1, kind="stable")
    kept = len(points) - num_malicious
    return points.means(tuple(tuple(sorted(int(i) for i in row[:kept])) for row in nearest))
