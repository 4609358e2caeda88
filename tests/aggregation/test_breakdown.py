"""What f colluding updates, at any scale, can do to a rule that withstands f: the honest spread bounds it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneflower.aggregation import PreAggregation, Round, ordered, pre_aggregated, spec_of

from .conftest import ROBUST, updates

quick = settings(max_examples=settings.default.max_examples // 5)
seeds = st.integers(0, 2**32 - 1)
every = pytest.mark.parametrize("name", ROBUST)
kinds = pytest.mark.parametrize("kind", PreAggregation)
TOP = {np.float32: 3.4e38, np.float64: 1.7e308}
NEEDS = {"Bulyan": (4, 3), "Krum": (2, 3), "MultiKrum": (2, 3)}
"""Updates for f malicious ones; the others need 2f + 1."""
AROUND_THE_MODEL = {"CenteredClipping", "FLTrust"}
BY_COORDINATE = {"FedMedian": 1, "FedTrimmedAvg": 1, "Bulyan": 2}
"""How many honest spreads of a coordinate the result may be from the mean, where the rule sees updates."""


def needed(name, kind, malicious):
    """Return how many clients a rule needs: of half as many buckets each malicious one may spoil one."""
    per_malicious, constant = NEEDS.get(name, (2, 1))
    count = per_malicious * malicious + constant
    return 2 * count - 1 if kind == PreAggregation.BUCKETING else count


def made(name, kind, rows, model, malicious, root=None):
    """Return the model that a rule makes of rows."""
    spec = pre_aggregated(spec_of(name), kind)
    points = -(-len(rows) // 2) if kind == PreAggregation.BUCKETING else len(rows)
    values = {"num_malicious": malicious, "trim_beta": (malicious + 0.25) / points}
    known = {key: value for key, value in values.items() if key in spec.values()}
    sent = ordered(updates(*rows, weights=[1.0] * len(rows)))
    this_round = Round(root={"w": rows[0] if root is None else root})
    return spec.aggregate(sent, {"w": model}, {}, spec.values(**known), this_round).model["w"]


def honest_rows(rng, count, model):
    scale = 10.0 ** rng.uniform(-6, 3)
    rows = model + scale * rng.standard_normal((count, model.size)) * 10.0 ** rng.uniform(-2, 0, (count, 1))
    if rng.random() < 0.2:
        rows[: rng.integers(0, count + 1)] = model
    if rng.random() < 0.1:
        rows[:] = rows[0]
    return rows


def colluding(rng, count, honest, model, top):
    """Return `count` updates of attackers who know everything."""
    far, noise = top ** rng.uniform(0, 1), rng.uniform(-1, 1, (count, model.size))
    mean, spread = honest.mean(axis=0), honest.std(axis=0)
    ladder = top ** rng.uniform(-0.5, 1, (count, 1))
    options = [
        far * noise,
        top * noise,
        np.tile(far * noise[:1], (count, 1)),
        mean + 0.5 * far * np.where(np.arange(count) % 2, 1.0, -1.0)[:, None],
        mean + ladder * noise,
        np.tile(mean, (count, 1)) + 1e-30 * noise,
        np.tile(model, (count, 1)),
        np.tile(mean - rng.uniform(0.3, 5) * spread, (count, 1)),
        honest[rng.integers(0, len(honest), count)] * 10.0 ** rng.uniform(-30, 30, (count, 1)),
    ]
    return options[rng.integers(0, len(options))]


def attacked(rng, dtype, name, kind):
    """Return the honest rows, those of the attackers, and the model that they were sent."""
    malicious = int(rng.integers(1, 5))
    count = needed(name, kind, malicious) + int(rng.integers(0, 3))
    model = rng.choice([0.0, 1.0]) * rng.standard_normal(int(rng.choice([1, 2, 9, 60])))
    honest = honest_rows(rng, count - malicious, model)
    evil = np.clip(colluding(rng, malicious, honest, model, TOP[dtype]), -TOP[dtype], TOP[dtype])
    return honest.astype(dtype), evil.astype(dtype), model.astype(dtype)


def farthest(rows, point):
    return float(np.sqrt(np.square(rows - point).sum(axis=1)).max())


@kinds
@every
@quick
@given(seed=seeds, dtype=st.sampled_from(list(TOP)))
def test_colluding_updates_move_the_model_by_no_more_than_the_honest_spread(name, kind, seed, dtype):
    honest, evil, model = attacked(np.random.default_rng(seed), dtype, name, kind)
    result = made(name, kind, [*honest, *evil], model, len(evil)).astype(np.longdouble)
    assert np.isfinite(result).all()
    wide, sent = honest.astype(np.longdouble), model.astype(np.longdouble)
    rounding = 100 * np.finfo(dtype).eps * (np.abs(wide).max() + np.abs(sent).max()) * np.sqrt(model.size)
    if name in AROUND_THE_MODEL:
        longest = farthest(wide[:1] if name == "FLTrust" else wide, sent)
        assert farthest(result[None], sent) <= (1 + 1e-5) * longest + rounding
        return
    centre, diameter = wide.mean(axis=0), max(farthest(wide, row) for row in wide)
    if name in BY_COORDINATE and kind == PreAggregation.NONE:
        spread = wide.max(axis=0) - wide.min(axis=0)
        assert (np.abs(result - centre) <= BY_COORDINATE[name] * spread + rounding).all()
    # A chosen update has honest neighbours; a mean of neighbours is within a diameter of its own update.
    factor = (
        2 * len(honest) / (len(honest) - len(evil)) if name == "GeometricMedian" else np.sqrt(len(honest)) + 1
    )
    times = 1 if kind == PreAggregation.NONE else 3
    assert farthest(result[None], centre) <= times * factor * np.sqrt(model.size) * diameter + rounding


@pytest.mark.parametrize("dtype", list(TOP))
@pytest.mark.parametrize("name", ["Robust", "MultiKrum", "GeometricMedian"])
def test_a_ladder_of_attackers_does_not_hide_the_honest_from_one_another(name, dtype):
    """Seen from 1e30 all others are at one place, and seen from 1e14 all others but that one."""
    rng = np.random.default_rng(0)
    honest = 1e-9 * rng.standard_normal((5, 20))
    ladder = [np.full(20, far) for far in (1e30, 1e14, 1e-2)]
    rows = [np.asarray(row, dtype) for row in (*ladder, *honest, *honest[:4] * 0.5)]
    for order in (rows, rows[::-1]):
        result = made(name, "none", order, np.zeros(20, dtype), 3).astype(np.float64)
        assert np.abs(result).max() < 1e-8


def test_clients_that_change_nothing_do_not_let_attackers_choose_the_clipping_length():
    model = np.zeros(4, np.float32)
    idle, busy, far = model, np.full(4, 0.1, np.float32), np.full(4, 1e30, np.float32)
    moved = made("CenteredClipping", "none", [idle, idle, busy, far, far], model, 2)
    assert np.linalg.norm(moved) <= np.linalg.norm(busy) * (1 + 1e-6)
    assert (made("CenteredClipping", "none", [idle, idle, idle, far, far], model, 2) == model).all()


@every
@quick
@given(seed=seeds, power=st.integers(-40, 40))
def test_a_power_of_two_scales_every_bit(name, seed, power):
    """Updates, model and root together, in float64: no constant of a rule has a unit."""
    rng = np.random.default_rng(seed)
    honest, evil, model = attacked(rng, np.float32, name, PreAggregation.NONE)
    rows = [np.clip(row, -1e15, 1e15).astype(np.float64) for row in (*honest, *evil)]
    model = model.astype(np.float64)
    scale = 2.0**power
    plain = made(name, "none", rows, model, len(evil))
    scaled = made(name, "none", [row * scale for row in rows], model * scale, len(evil), rows[0] * scale)
    assert (scaled == plain * scale).all()


@pytest.mark.parametrize("power", [-900, -560, 560, 900])
@pytest.mark.parametrize("name", ["Robust", "MultiKrum", "GeometricMedian", "Krum", "Bulyan"])
def test_float64_models_whose_squares_leave_float64_are_aggregated_like_any_other(name, power):
    rng = np.random.default_rng(1)
    rows = [rng.standard_normal(30) for _ in range(9)] + [np.full(30, 9.0), np.full(30, -9.0)]
    plain = made(name, "none", rows, np.zeros(30), 2)
    scaled = made(name, "none", [row * 2.0**power for row in rows], np.zeros(30), 2)
    np.testing.assert_allclose(scaled * 2.0**-power, plain, rtol=1e-12)


@pytest.mark.parametrize("name", sorted(AROUND_THE_MODEL))
@quick
@given(seed=seeds, shift=st.integers(-8_000, 8_000).map(lambda eighths: eighths / 8))
def test_shifting_updates_and_model_shifts_the_result(name, seed, shift):
    rng = np.random.default_rng(seed)
    rows, model = [rng.standard_normal(20) for _ in range(7)], rng.standard_normal(20)
    plain = made(name, "none", rows, model, 2)
    shifted = made(name, "none", [row + shift for row in rows], model + shift, 2)
    np.testing.assert_allclose(shifted, plain + shift, rtol=1e-9, atol=1e-9)
