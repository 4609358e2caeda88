"""Means in the place of updates, before a rule sees them."""

import numpy as np
import pytest

from oneflower.aggregation import (
    SPECS,
    AggregationError,
    PreAggregation,
    Round,
    ordered,
    pre_aggregated,
    spec_of,
)
from oneflower.aggregation.mixing import bucketing, nearest_neighbours
from oneflower.aggregation.points import Points

from .conftest import FEWEST, ROBUST, random_updates, root_of, stacked, updates, values_of

KINDS = [PreAggregation.NNM, PreAggregation.BUCKETING]
COUNT = 2 * FEWEST + 5


def mixed(name, kind, given, number=1, seed=42):
    spec, entering = pre_aggregated(spec_of(name), kind), ordered(given)
    model = {key: np.zeros_like(array) for key, array in entering[0].arrays.items()}
    this_round = Round(number=number, seed=seed, root=root_of(entering))
    return spec.aggregate(entering, model, spec.init(model), values_of(spec), this_round)


def rows(points):
    """The points' values, of updates with one array."""
    columns = [update.arrays["w"].reshape(-1) for update in points.updates]
    return np.stack(points.mix(columns))


def test_a_neighbourhood_is_the_point_and_the_nearest_others():
    given = ordered(random_updates(7, 30, seed=3, dtype=np.float64))
    values = np.stack([update.arrays["w"] for update in given])
    distances = ((values[:, None] - values[None, :]) ** 2).sum(axis=2)
    expected = [values[np.argsort(row)[:5]].mean(axis=0) for row in distances]
    np.testing.assert_allclose(rows(nearest_neighbours(Points(given), 2)), expected, rtol=1e-12)


def test_without_malicious_clients_each_neighbourhood_is_everyone():
    given = ordered(random_updates(5, 30))
    found = rows(nearest_neighbours(Points(given), 0))
    assert (found == found[0]).all()


@pytest.mark.parametrize("count", [2, 5, 8])
def test_each_update_is_in_one_bucket_of_two(count):
    points = bucketing(Points(ordered(random_updates(count, 4))), seed=1, number=1)
    (buckets,) = points.stages
    assert sorted(i for bucket in buckets for i in bucket) == list(range(count))
    assert [len(bucket) for bucket in buckets] == [2] * (count // 2) + [1] * (count % 2)


def test_buckets_follow_from_the_seed_and_the_round():
    points = Points(ordered(random_updates(12, 4)))
    drawn = {(seed, number): bucketing(points, seed, number).stages for seed in (1, 2) for number in (1, 2)}
    assert bucketing(points, 1, 1).stages == drawn[1, 1]
    assert len(set(drawn.values())) == 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ROBUST)
def test_every_rule_takes_means(name, kind):
    """A mean of equal updates is that update, whatever the rule makes of it."""
    one = np.arange(5, dtype=np.float32)
    result = mixed(name, kind, updates(*[one.copy() for _ in range(COUNT)]))
    np.testing.assert_allclose(result.model["w"], one, rtol=1e-6)
    assert set(result.used) <= set(ordered(result.used))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ROBUST)
def test_the_order_of_arrival_does_not_matter(name, kind):
    given = random_updates(COUNT, 40, seed=5)
    first = mixed(name, kind, given).model["w"].tobytes()
    assert mixed(name, kind, given[::-1]).model["w"].tobytes() == first


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ROBUST)
def test_an_attacker_far_away_does_not_lead(name, kind):
    honest = np.random.default_rng(0).normal(size=(COUNT - 1, 8)).astype(np.float32)
    result = mixed(name, kind, updates(*honest, np.full(8, 1e6, np.float32))).model["w"]
    assert np.abs(result).max() < 2 * np.abs(honest).max()


@pytest.mark.parametrize("name", ["Krum", "Bulyan", "MultiKrum"])
def test_a_selected_mean_names_its_members(name):
    given = random_updates(COUNT, 40, seed=5)
    used = mixed(name, PreAggregation.BUCKETING, given).used
    assert 2 <= len(used) < COUNT
    assert set(used) <= set(given)


def test_the_mean_of_the_mixed_stays_among_the_updates():
    given = random_updates(COUNT, 40, seed=6)
    values = stacked(given)
    for kind in KINDS:
        result = mixed("FedMedian", kind, given).model["w"]
        assert (result >= values.min(axis=0)).all()
        assert (result <= values.max(axis=0)).all()


@pytest.mark.parametrize(
    "spec", [spec for spec in SPECS if not spec.weights_by_examples], ids=lambda s: s.name
)
def test_buckets_are_as_many_as_the_rule_needs(spec):
    inner, outer = spec.bound, pre_aggregated(spec, PreAggregation.BUCKETING).bound
    for malicious in range(5):
        needed = outer(malicious)
        assert -(-needed // 2) == inner(malicious)
        assert -(-(needed - 1) // 2) < inner(malicious)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.weights_by_examples], ids=lambda s: s.name)
def test_a_rule_that_weighs_by_examples_takes_no_means(spec, kind):
    with pytest.raises(AggregationError, match="cannot stand before"):
        pre_aggregated(spec, kind)


def test_none_is_the_rule_itself():
    assert pre_aggregated(spec_of("Krum"), "none") is spec_of("Krum")
