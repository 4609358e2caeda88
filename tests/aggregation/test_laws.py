"""Laws that hold for every rule and every set of updates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from .conftest import FEWEST, MEANS, ROBUST, RULES, random_updates, same_bytes, updates

rules = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
means = pytest.mark.parametrize("rule", MEANS.values(), ids=MEANS)
quick = settings(max_examples=settings.default.max_examples * 2 // 5)

# Multiples of 1/8 up to 1000: sums, differences and squares of a few of them are exact in float32.
EXACT = st.integers(-8_000, 8_000).map(lambda eighths: eighths / 8)
MODELS = st.integers(FEWEST, 12).flatmap(lambda n: arrays(np.float32, (n, 6), elements=EXACT))


@rules
@quick
@given(models=MODELS, order=st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_change_one_byte(rule, models, order):
    sent = updates(*models, weights=[float(1 + i % 3) for i in range(len(models))])
    shuffled = list(sent)
    order.shuffle(shuffled)
    assert same_bytes(rule(sent).model, rule(shuffled).model)


@rules
def test_the_order_of_arrival_does_not_change_one_byte_of_a_model_of_blocks(rule):
    sent = random_updates(FEWEST, 100_001)
    assert same_bytes(rule(sent).model, rule(sent[::-1]).model)


@means
@quick
@given(models=MODELS, factor=st.sampled_from([0.25, 2.0, -4.0]))
def test_scaling_all_updates_scales_the_result(rule, models, factor):
    """But for ties, which fall to an order that a negative factor reverses: these models are drawn apart."""
    models = models + np.random.default_rng(0).normal(size=models.shape).astype(np.float32)
    result, scaled = (rule(updates(*m)).model["w"] for m in (models, models * np.float32(factor)))
    np.testing.assert_allclose(scaled, result * factor, rtol=2e-6, atol=1e-3 * abs(factor))


@means
@quick
@given(models=MODELS, shift=EXACT)
def test_shifting_all_updates_shifts_the_result(rule, models, shift):
    result, shifted = (rule(updates(*m)).model["w"] for m in (models, models + np.float32(shift)))
    np.testing.assert_allclose(shifted, result + shift, rtol=2e-6, atol=2e-3)


@means
@quick
@given(model=arrays(np.float32, 6, elements=EXACT), count=st.integers(FEWEST, 50))
def test_updates_that_agree_are_their_own_result(rule, model, count):
    result = rule(updates(*[model] * count)).model["w"]
    np.testing.assert_allclose(result, model, rtol=1e-6)


@quick
@given(models=MODELS)
def test_krum_returns_one_of_the_updates(models):
    sent = updates(*models)
    chosen = RULES["Krum"](sent)
    assert chosen.used[0] in sent
    assert chosen.model is chosen.used[0].arrays


@pytest.mark.parametrize("rule", ROBUST.values(), ids=ROBUST)
@quick
@given(models=MODELS, weight=st.floats(0.1, 1e9))
def test_robust_rules_ignore_what_a_client_says_of_its_examples(rule, models, weight):
    """Ties may fall to another of the tied updates, because the weight is a part of the order."""
    claims = [weight, *[10.0 + i for i in range(1, len(models))]]
    honest, claimed = (rule(updates(*models, weights=w)) for w in (None, claims))
    assert len(claimed.used) == len(honest.used)
    if len(honest.used) == len(models):
        np.testing.assert_allclose(claimed.model["w"], honest.model["w"], rtol=1e-6, atol=1e-3)


@quick
@given(models=MODELS, attack=arrays(np.float32, 6, elements=st.floats(-(2.0**120), 2.0**120, width=32)))
def test_a_trimmed_attacker_cannot_leave_the_honest_range(models, attack):
    """With floor(beta n) >= 1 one attacker moves no coordinate beyond what honest clients sent."""
    result = RULES["FedTrimmedAvg"](updates(*models, attack)).model["w"]
    assert (result >= models.min(axis=0) - 1e-3).all()
    assert (result <= models.max(axis=0) + 1e-3).all()


@quick
@given(attack=arrays(np.float32, 50, elements=st.floats(-(2.0**120), 2.0**120, width=32)))
def test_bulyan_stays_within_the_honest_spread_whatever_one_attacker_sends(attack):
    honest = np.random.default_rng(3).standard_normal((FEWEST, 50)).astype(np.float32)
    result = RULES["Bulyan"](updates(*honest, attack)).model["w"]
    spread = honest.max(axis=0) - honest.min(axis=0)
    assert (np.abs(result - np.median(honest, axis=0)) <= 2 * spread).all()
