"""What the updates of a round show: distances, changes and weights, finite or stated as too large."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.aggregation import (
    Round,
    Update,
    inspect,
    inspection,
    ordered,
    pre_aggregated,
    shares,
    spec_of,
)
from oneflower.aggregation.inspection import LEAST, pieces

SENT = {"w": np.zeros(20_000, np.float32), "bn.num_batches_tracked": np.array(0)}


def update(client, value, **fields):
    arrays = {"w": np.full(20_000, value, np.float32), "bn.num_batches_tracked": np.array(10**9)}
    return Update(client=client, arrays=arrays, **fields)


def test_distances_and_changes_are_those_of_whole_models_and_counters_do_not_count():
    updates = ordered([update(1, 1.0), update(2, 1.0), update(3, -3.0)])
    found = inspect(updates, SENT, {"w": np.ones(20_000, np.float32), "bn.num_batches_tracked": np.array(1)})
    by_client = dict(zip(found.clients, zip(found.distances, found.changes, strict=True), strict=True))
    assert by_client[1] == by_client[2] == (0.0, pytest.approx(1.0))
    assert by_client[3] == (pytest.approx(4 * math.sqrt(20_000)), pytest.approx(3.0))


def test_a_model_of_another_form_is_not_measured_against():
    found = inspect(ordered([update(1, 1.0)]), {"w": np.zeros(3)}, {"other": np.zeros(3)})
    assert (found.clients, found.distances, found.changes) == ((1,), (), ())


def test_what_float64_cannot_hold_is_infinite_and_never_nan():
    sent = {"w": np.array([0.0])}
    updates = ordered(
        [Update(client=i, arrays={"w": np.array([v])}) for i, v in enumerate((1.0, 1.0, 1e300))]
    )
    found = inspect(updates, sent, {"w": np.array([1.0])})
    assert sorted(found.distances) == [0.0, 0.0, math.inf]
    assert sorted(found.changes) == [1.0, 1.0, math.inf]


def shares_under(name, updates, pre_aggregation="none", root=None, **values):
    spec = pre_aggregated(spec_of(name), pre_aggregation)
    used = spec.aggregate(updates, SENT, spec.init(SENT), spec.values(**values), Round(root=root))
    return shares(spec, updates, used)


def test_weights_follow_examples_or_the_rule_or_are_absent():
    used = ordered([update(1, 1.0, num_examples=1.0), update(2, 1.0, num_examples=3.0)])
    assert shares_under("FedAvg", used) == {1: 0.25, 2: 0.75}
    assert set(shares_under("FedMedian", used).values()) == {None}


ROUND = ordered([update(1, 1.0), update(2, 1.15), update(3, 1.2), update(4, 1.3), update(5, -90.0)])


def test_a_selecting_rule_gives_what_it_selected_the_same_weight_and_the_others_none():
    assert shares_under("Krum", ROUND, num_malicious=1) == {3: 1.0}
    assert shares_under("MultiKrum", ROUND, num_malicious=1) == dict.fromkeys((1, 2, 3, 4), 0.25)


def test_a_rule_that_finds_weights_reports_them():
    median = shares_under("GeometricMedian", ROUND)
    assert math.fsum(median.values()) == pytest.approx(1)
    assert median[5] < 0.01 < median[2]
    clipped = shares_under("CenteredClipping", ROUND)
    assert clipped[1] == pytest.approx(1 / 5)
    assert clipped[5] == pytest.approx(1.2 / 90 / 5)


def test_trust_is_the_weight_under_fltrust_and_without_any_there_is_none():
    trusted = shares_under("FLTrust", ROUND, root=update(0, 2.0).arrays)
    assert trusted == dict.fromkeys((1, 2, 3, 4), pytest.approx(0.25))
    behind_means = shares_under("FLTrust", ROUND, "bucketing", root=update(0, 2.0).arrays)
    assert math.fsum(behind_means.values()) == pytest.approx(1)
    turned_away = ordered(update(client, -1.0) for client in (1, 2))
    assert shares_under("FLTrust", turned_away, root=update(0, 2.0).arrays) == {}


def test_under_means_the_weight_of_a_mean_is_split_among_its_members():
    nearest = shares_under("Krum", ROUND, "NNM", num_malicious=1)
    assert nearest == dict.fromkeys((1, 2, 3, 4), 0.25)
    buckets = shares_under("GeometricMedian", ROUND, "bucketing")
    assert math.fsum(buckets.values()) == pytest.approx(1)


def test_of_a_large_model_a_sample_is_measured_that_has_some_of_each_array(monkeypatch):
    rng = np.random.default_rng(1)
    sizes = {"large": 1_000_000, "small": 300, "one": 1}
    updates = ordered(
        Update(client=i, arrays={name: rng.normal(scale=i, size=size) for name, size in sizes.items()})
        for i in (1, 2, 3)
    )
    sent = {name: np.zeros(size) for name, size in sizes.items()}
    exact = inspect(updates, sent, sent)
    monkeypatch.setattr(inspection, "MOST_VALUES", 100_000)
    estimated = inspect(updates, sent, sent)
    assert estimated.distances != exact.distances
    assert estimated.distances == pytest.approx(exact.distances, rel=0.03)
    assert estimated.changes == pytest.approx(exact.changes, rel=0.03)


@given(size=st.integers(0, 100_000), share=st.floats(1e-9, 2.0), place=st.floats(0, 1, exclude_max=True))
def test_pieces_lie_in_the_array_side_by_side_and_have_what_was_asked_for(size, share, place):
    found = pieces(size, share, place)
    assert all(0 <= each.start < each.stop <= size for each in found)
    assert all(left.stop <= right.start for left, right in pairwise(found))
    measured = sum(each.stop - each.start for each in found)
    assert min(size, LEAST) <= measured <= size
    assert measured >= min(size, size * share) * 0.99 - 2 * len(found)
    assert share < 1 or measured == size


def test_where_the_pieces_lie_follows_from_the_new_model():
    sent = {"w": np.zeros(10**6)}
    change = np.zeros(10**6)
    change[500_000] = 1.0
    spiked = ordered(
        [Update(client=1, arrays={"w": change}), *(Update(client=i, arrays=sent) for i in (2, 3))]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspection, "MOST_VALUES", 3 * 200_000)
        found = [
            max(inspect(spiked, sent, {"w": np.full(10**6, value)}).changes) > 0 for value in np.arange(40.0)
        ]
    assert True in found
    assert False in found


@given(st.lists(st.integers(0, 3 * inspection.BLOCK), min_size=1, max_size=30), st.floats(1e-6, 2.0))
def test_small_arrays_are_measured_together_and_each_once(sizes, share):
    named = {f"a{number}": size for number, size in enumerate(sizes)}
    groups = list(inspection.together(named, share))
    assert [name for group in groups for name in group] == list(named)
    for group in groups:
        assert len(group) == 1 or sum(named[name] for name in group) <= inspection.BLOCK


def test_a_thousand_arrays_have_the_norm_of_one():
    rng = np.random.default_rng(1)
    values, sent = (rng.normal(size=100_000).astype(np.float32) for _ in range(2))
    parts = np.sort(rng.integers(0, values.size, 999))
    many, before = (
        {f"{number}": part for number, part in enumerate(np.split(whole, parts))} for whole in (values, sent)
    )
    (found,) = inspect(ordered([Update(client=1, arrays=many)]), before, before).distances
    assert found == pytest.approx(float(np.linalg.norm(values.astype(float) - sent)))
