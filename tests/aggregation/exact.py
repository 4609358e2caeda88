"""Krum and Bulyan's selection as the papers define them, in exact arithmetic at every scale."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from oneflower.aggregation.distances import krum_scores

SCALES = {np.float64: (-300, 300), np.float32: (-44, 37), np.float16: (-7, 4)}
"""Powers of ten that a dtype holds."""


def exact_distances(rows):
    """Return ||x_i - x_j||^2 of 1-D arrays as fractions."""
    exact = [[Fraction(float(value)) for value in row] for row in rows]
    return [[sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) for b in exact] for a in exact]


def exact_score(distances, candidate, remaining, num_malicious):
    """Return Krum's score of one of the remaining candidates (Blanchard et al. 2017, section 4)."""
    others = sorted(distances[candidate][i] for i in remaining if i != candidate)
    return sum(others[: max(1, len(remaining) - num_malicious - 2)])


@dataclass(frozen=True)
class Selection:
    """Which candidates our distances select one after another, and how much worse the worst pick is than the
    paper's: 0 where each pick has the least score, else the excess as a share of it."""

    picks: list
    excess: float


def selection(ours, exact, num_malicious, count):
    """Follow Krum with each pick taken out; `count` of 1 is Krum itself."""
    remaining, picks, excess = list(range(len(exact))), [], 0.0
    for _ in range(count):
        scores = krum_scores(ours[np.ix_(remaining, remaining)], num_malicious)
        pick = remaining[int(np.argmin(scores))]
        true = {i: exact_score(exact, i, remaining, num_malicious) for i in remaining}
        least = min(true.values())
        if true[pick] != least:
            excess = max(excess, float((true[pick] - least) / least) if least else np.inf)
        picks.append(pick)
        remaining.remove(pick)
    return Selection(picks, excess)


def random_rows(rng, dtype, count, size, exponent=None, spread=0.0):
    """Return updates around a common model, 10^exponent apart; `spread` is the range of the clients' own
    exponents, so that they lie at several scales."""
    low, high = SCALES[dtype]
    exponent = rng.uniform(low, high) if exponent is None else exponent
    own = np.clip(exponent + rng.uniform(-spread, spread, count), low, high)
    base = rng.standard_normal(size) * 10.0 ** np.clip(exponent + rng.uniform(-2, 2), low, high)
    with np.errstate(under="ignore"):
        return [
            np.asarray(base + 10.0**scale * rng.uniform(-1, 1, size)).astype(dtype).reshape(-1)
            for scale in own
        ]
