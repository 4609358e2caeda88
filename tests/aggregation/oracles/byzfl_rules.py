"""ByzFL's rules (Guerraoui et al., ByzFL 0.0.11), as they are and with the known differences taken out.

All get float64 arrays: of torch tensors ByzFL makes float32.
"""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

import numpy as np

from .arbiter import majority_radius


def _of_byzfl(module: str):
    """Import one of its modules without its `__init__`, which needs torchvision, matplotlib and seaborn."""
    if "byzfl" not in sys.modules:
        spec = find_spec("byzfl")
        if spec is None:
            raise ImportError("byzfl is not installed: make check installs it (decision 242)")
        package = ModuleType("byzfl")
        package.__path__ = list(spec.submodule_search_locations)
        package.__spec__ = ModuleSpec("byzfl", None, is_package=True)
        sys.modules["byzfl"] = package
    return __import__(f"byzfl.aggregators.{module}", fromlist=["*"])


rules, means = _of_byzfl("aggregators"), _of_byzfl("preaggregators")
STEPS = 300


def average(sent):
    return rules.Average()(sent.wide)


def median(sent):
    return rules.Median()(sent.wide)


def trimmed(sent):
    return rules.TrMean(sent.malicious)(sent.wide)


def krum_as_it_is(sent):
    return rules.Krum(sent.malicious)(sent.wide)


def krum(sent):
    """With f + 1 it sums the n - f - 2 neighbours of the paper, and its own bound is the paper's 2f + 3."""
    return rules.Krum(sent.malicious + 1)(sent.wide)


def multikrum_as_it_is(sent):
    return rules.MultiKrum(sent.malicious)(sent.wide)


class _PapersNeighbours(rules.MultiKrum):
    """It reads f for its check, for the neighbours and for the number that it averages, in this order."""

    def __init__(self, f):
        self.reads = iter((f + 1, f + 1, f))

    @property
    def f(self):
        return next(self.reads)


def multikrum(sent):
    return _PapersNeighbours(sent.malicious)(sent.wide)


def geometric_median_as_it_is(sent):
    return rules.GeometricMedian()(sent.wide)


def geometric_median(sent):
    """From the median of the coordinates instead of zero, to the end, smoothed relative to the majority."""
    start = rules.Median()(sent.wide)
    smoothing = max(1e-6 * majority_radius(sent.rows), 1e-300)
    return start + rules.GeometricMedian(nu=float(smoothing), T=STEPS)(sent.wide - start)


def clipping_as_it_is(sent):
    with np.errstate(divide="ignore", invalid="ignore"):
        return rules.CenteredClipping(tau=radius(sent))(sent.wide)


def clipping(sent):
    """Around the model that was sent. Its constructor refuses every m: TypeError unless it is two types."""
    rule = rules.CenteredClipping(tau=radius(sent))
    rule.m = sent.model.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return rule(sent.wide)


def radius(sent):
    """Return the median length of the changes, which FL_CLIPPING_RADIUS=0 stands for."""
    lengths = np.linalg.norm(sent.wide - sent.model, axis=1)
    moved = np.sort(lengths[lengths > 0])
    return float(moved[(len(moved) - 1) // 2]) if len(moved) else 0.0


def mixed(sent):
    return means.NNM(sent.malicious)(sent.wide)


def robust(sent):
    return rules.TrMean(sent.malicious)(mixed(sent))


class _InOrder:
    """Stands for its random generator: the rows come in the order of our buckets."""

    @staticmethod
    def permutation(vectors):
        return vectors


def bucketed(rows):
    """Return the means of pairs of rows; of an odd number the last is alone."""
    drawn, means.random_tool = means.random_tool, lambda _vectors: _InOrder
    try:
        return means.Bucketing(2)(rows)
    finally:
        means.random_tool = drawn
