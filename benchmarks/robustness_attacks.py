"""What malicious clients send in `robustness.py`: each attack is a function of what an attacker may know.

The attackers know the model that was sent and every honest update of the round, and act together: the
strongest attacker of the papers. Arrays are the float arrays of the model by name; counters stay as they are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[np.floating]]
Vector = NDArray[np.float64]

BOOST: Final = 5.0
"""How much longer the backdoor's change is made, so that the mean takes it up (n / f is 5.5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All that an attacker knows when it sends: `own` is what it would send if it were honest."""

    rng: np.random.Generator
    model: Arrays
    honest: Sequence[Arrays]
    own: Arrays
    team: Sequence[Arrays]
    """What each attacker would send, its own included."""


Attack = Callable[[Scene], Arrays]


def honest(scene: Scene) -> Arrays:
    """Send what was trained; with "label flip", on labels that were turned round before."""
    return scene.own


def sign_flip(scene: Scene) -> Arrays:
    """Send ten times the opposite of the own change."""
    return {name: scene.model[name] - 10 * (scene.own[name] - scene.model[name]) for name in scene.own}


def gaussian(scene: Scene) -> Arrays:
    """Add noise of standard deviation 1 to every weight; the weights themselves are about 0.05."""
    return {name: values + scene.rng.normal(size=values.shape) for name, values in scene.own.items()}


def a_little_is_enough(scene: Scene) -> Arrays:
    """Stay z deviations from the honest mean, just inside their spread (Baruch et al. 2019, algorithm 3)."""
    good, bad = len(scene.honest), len(scene.team)
    supporters = (good + bad) // 2 + 1 - bad
    z = NormalDist().inv_cdf((good - supporters) / good)
    centre, spread = moments(scene)
    return unflat(centre - z * spread, scene.own)


def inner_product(scene: Scene) -> Arrays:
    """Send minus ten times the honest mean change, so that the mean steps backwards (Xie et al. 2020)."""
    centre, model = moments(scene)[0], flat(scene.model, scene.own)
    return unflat(model - 10 * (centre - model), scene.own)


def min_max(scene: Scene) -> Arrays:
    """Go as far against the honest spread as the two farthest honest updates are apart.

    Shejwalkar and Houmansadr 2021, "Manipulating the Byzantine", equation 2 (AGR-agnostic), with the inverse
    standard deviation as the direction: no malicious update is farther from any honest one than they are.
    """
    rows, centre, direction = _shape(scene)
    bound = max(float(np.max(squares_to(rows, row))) for row in rows)
    return unflat(centre + farthest(rows, centre, direction, bound, np.max) * direction, scene.own)


def min_sum(scene: Scene) -> Arrays:
    """Do the same with the SUM of the squared distances to the honest updates (equation 3 there)."""
    rows, centre, direction = _shape(scene)
    bound = max(float(np.sum(squares_to(rows, row))) for row in rows)
    return unflat(centre + farthest(rows, centre, direction, bound, np.sum) * direction, scene.own)


def not_a_number(scene: Scene) -> Arrays:
    """Send NaN in place of every weight."""
    return {name: np.full_like(values, np.nan) for name, values in scene.own.items()}


def largest(scene: Scene) -> Arrays:
    """Send the largest float32 in place of every weight: it is finite."""
    return {name: np.full_like(values, 3.4e38) for name, values in scene.own.items()}


def stale(scene: Scene) -> Arrays:
    """Send the model back as it came: a free rider."""
    return dict(scene.model)


def boosted(scene: Scene) -> Arrays:
    """Send the change that learned the trigger, five times as long (Bagdasaryan et al. 2020, section 4)."""
    return {name: scene.model[name] + BOOST * (scene.own[name] - scene.model[name]) for name in scene.own}


def sybils(scene: Scene) -> Arrays:
    """Send one same update each, the mean of what all attackers learned from labels turned round.

    They are nearest to one another, which a rule that looks for near neighbours may take for a majority.
    """
    return {name: np.mean([each[name] for each in scene.team], axis=0) for name in scene.own}


ATTACKS: Final[dict[str, Attack]] = {
    "none": honest,
    "sign flip": sign_flip,
    "noise": gaussian,
    "ALIE": a_little_is_enough,
    "inner product": inner_product,
    "Min-Max": min_max,
    "Min-Sum": min_sum,
    "label flip": honest,
    "sybils": sybils,
    "backdoor": boosted,
    "stale": stale,
    "NaN": not_a_number,
    "3.4e38": largest,
}
TRAINED: Final = frozenset({"none", "sign flip", "noise", "label flip", "sybils", "backdoor"})
"""Attacks that send something of what the malicious clients have trained themselves."""
FLIPPED: Final = frozenset({"label flip", "sybils"})
"""Attacks whose clients train on labels turned round: 0 becomes 9, 1 becomes 8 and so on."""
TRIGGERED: Final = frozenset({"backdoor"})
"""Attacks whose clients train on images half of which bear the trigger and the target's label."""
REMOVED: Final = "attackers removed"
"""The ceiling: the honest clients alone."""


# --- vectors ------------------------------------------------------------------------------------------------


def flat(arrays: Arrays, like: Arrays) -> Vector:
    """Return all values as one vector, in the order of `like`."""
    return np.concatenate([np.asarray(arrays[name], dtype=np.float64).reshape(-1) for name in like])


def unflat(vector: Vector, like: Arrays) -> Arrays:
    """Return a vector's values in the arrays' shapes."""
    ends = np.cumsum([values.size for values in like.values()])[:-1]
    parts = np.split(vector, ends)
    return {name: part.reshape(like[name].shape) for name, part in zip(like, parts, strict=True)}


def moments(scene: Scene) -> tuple[Vector, Vector]:
    """Return the mean and the standard deviation of the honest updates."""
    rows = np.stack([flat(each, scene.own) for each in scene.honest])
    return rows.mean(axis=0), rows.std(axis=0)


def _shape(scene: Scene) -> tuple[NDArray[np.float64], Vector, Vector]:
    rows = np.stack([flat(each, scene.own) for each in scene.honest])
    return rows, rows.mean(axis=0), -rows.std(axis=0)


def squares_to(rows: NDArray[np.float64], point: Vector) -> Vector:
    """Return ||row - point||^2 of every row."""
    return np.array([float(difference @ difference) for difference in rows - point])


def farthest(
    rows: NDArray[np.float64],
    centre: Vector,
    direction: Vector,
    bound: float,
    combine: Callable[[Vector], np.floating],
) -> float:
    """Return the largest gamma of at least 0 with combine(||row - centre - gamma direction||^2) <= bound.

    Each square is a parabola of gamma, so that what is combined grows from some gamma on: bisection finds it.
    """
    constant = squares_to(rows, centre)
    linear = 2 * np.array([float((centre - row) @ direction) for row in rows])
    quadratic = float(direction @ direction)
    if not quadratic:
        return 0.0
    low, high = 0.0, 1.0
    while combine(constant + high * linear + high**2 * quadratic) <= bound:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        fits = combine(constant + middle * linear + middle**2 * quadratic) <= bound
        low, high = (middle, high) if fits else (low, middle)
    return low
