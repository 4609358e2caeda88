"""Updates of a round to give to our rule and to an oracle: honest ones of many shapes, and attacks."""

from dataclasses import dataclass

import numpy as np

from oneflower.aggregation import Update, ordered

DTYPES = (np.float32, np.float64)
HONEST = ("apart", "around one", "two scales", "clusters", "integers", "copies", "equal")
ATTACKS = (
    "none",
    "far",
    "far copies",
    "two sides",
    "sign flip",
    "little is enough",
    "inner product",
    "one value",
)
FAR = (1e6, 1e18, 1e30, 3e38)
LONGEST = 1_000


@dataclass(frozen=True, slots=True)
class Sent:
    """What the clients of a round sent.

    Attributes
    ----------
    number
        The input's number: all the rest follows from it.
    rows
        One row of float32 or float64 a client, in the fixed order of the updates.
    model
        What the clients had been sent.
    malicious
        How many of them the rule is to withstand; at most so many rows are an attacker's.
    """

    number: int
    rows: np.ndarray
    model: np.ndarray
    malicious: int

    @property
    def updates(self):
        """The rows as updates, in their order; each has the same number of examples."""
        return ordered(
            Update(client=i, arrays={"w": row}, num_examples=10.0) for i, row in enumerate(self.rows)
        )

    @property
    def scale(self):
        """The largest value of each coordinate; the rounding of a sum is a share of it."""
        return np.abs(np.vstack([self.rows, self.model[None]])).max(axis=0).astype(np.float64)

    @property
    def wide(self):
        """The rows in float64, which are the same numbers."""
        return self.rows.astype(np.float64)


def draw(number, most_malicious, largest=3e38):
    """Return input `number`, for a rule that withstands `most_malicious(n)` of n clients."""
    rng = np.random.default_rng([17, number])
    count = int(rng.integers(3, 26))
    size = int(np.exp(rng.uniform(0, np.log(LONGEST))).round())
    dtype = DTYPES[number % 2]
    malicious = int(rng.integers(0, most_malicious(count) + 1))
    model = np.where(rng.random() < 0.5, 0.0, rng.standard_normal(size))
    honest = _honest(rng, str(rng.choice(HONEST)), count - malicious, model)
    evil = _attack(rng, str(rng.choice(ATTACKS)), malicious, honest, model)
    rows = np.vstack([honest, evil]) if len(evil) else honest
    rows = np.clip(rows, -largest, largest).astype(dtype)
    in_order = ordered(Update(client=i, arrays={"w": row}, num_examples=10.0) for i, row in enumerate(rows))
    return Sent(number, np.stack([each.arrays["w"] for each in in_order]), model.astype(dtype), malicious)


def _honest(rng, kind, count, model):  # noqa: PLR0911 - one a kind
    noise = rng.standard_normal((count, model.size))
    match kind:
        case "apart":
            return model + 10.0 ** rng.uniform(-3, 3) * noise
        case "around one":
            return 1 + 0.1 * model + 1e-4 * noise
        case "two scales":
            return model + noise * 10.0 ** rng.uniform(-3, 1, (count, 1))
        case "clusters":
            return model + rng.standard_normal((2, model.size))[rng.integers(0, 2, count)] + 0.05 * noise
        case "integers":
            return np.rint(model + noise)
        case "copies":
            return (model + noise)[rng.integers(0, max(1, count // 2), count)]
        case _:
            return np.tile(model + noise[0], (count, 1))


def _attack(rng, kind, count, honest, model):  # noqa: PLR0911 - one a kind
    mean, spread = honest.mean(axis=0), honest.std(axis=0)
    noise = rng.standard_normal((count, model.size))
    far = float(rng.choice(FAR)) * rng.uniform(0.5, 1)
    match kind:
        case "none":
            return honest[rng.integers(0, len(honest), count)] + 0.1 * spread * noise
        case "far":
            return far * np.clip(noise, -1, 1)
        case "far copies":
            return np.tile(far * np.sign(noise[:1]), (count, 1)) if count else noise
        case "two sides":
            return mean + far * np.where(np.arange(count) % 2, 1.0, -1.0)[:, None]
        case "sign flip":
            return np.tile(model - 3 * (mean - model), (count, 1))
        case "little is enough":
            return np.tile(mean - rng.uniform(0.3, 1.5) * spread, (count, 1))
        case "inner product":
            return np.tile(model - 0.1 * (mean - model), (count, 1))
        case _:
            evil = np.tile(mean, (count, 1))
            evil[:, 0] = far
            return evil
