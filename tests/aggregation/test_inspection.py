"""What the updates of a round show: distances, changes and weights, finite or stated as too large."""

import math

import numpy as np
import pytest

from oneflower.aggregation import Update, inspect, ordered, shares, spec_of

SENT = {"w": np.zeros(20_000, np.float32), "bn.num_batches_tracked": np.array(0)}


def update(client, value, **fields):
    arrays = {"w": np.full(20_000, value, np.float32), "bn.num_batches_tracked": np.array(10**9)}
    return Update(client=client, arrays=arrays, **fields)


def test_distances_and_changes_are_those_of_whole_models_and_counters_do_not_count():
    given = ordered([update(1, 1.0), update(2, 1.0), update(3, -3.0)])
    found = inspect(given, SENT, {"w": np.ones(20_000, np.float32), "bn.num_batches_tracked": np.array(1)})
    by_client = dict(zip(found.clients, zip(found.distances, found.changes, strict=True), strict=True))
    assert by_client[1] == by_client[2] == (0.0, pytest.approx(1.0))
    assert by_client[3] == (pytest.approx(4 * math.sqrt(20_000)), pytest.approx(3.0))


def test_a_model_of_another_form_is_not_measured_against():
    found = inspect(ordered([update(1, 1.0)]), {"w": np.zeros(3)}, {"other": np.zeros(3)})
    assert (found.clients, found.distances, found.changes) == ((1,), (), ())


def test_what_float64_cannot_hold_is_infinite_and_never_nan():
    sent = {"w": np.array([0.0])}
    given = ordered([Update(client=i, arrays={"w": np.array([v])}) for i, v in enumerate((1.0, 1.0, 1e300))])
    found = inspect(given, sent, {"w": np.array([1.0])})
    assert sorted(found.distances) == [0.0, 0.0, math.inf]
    assert sorted(found.changes) == [1.0, 1.0, math.inf]


def test_weights_follow_examples_or_are_equal_or_absent():
    used = ordered([update(1, 1.0, num_examples=1.0), update(2, 1.0, num_examples=3.0)])
    assert shares(spec_of("FedAvg"), used) == {1: 0.25, 2: 0.75}
    assert shares(spec_of("Krum"), used[:1]) == {used[0].client: 1.0}
    assert set(shares(spec_of("FedMedian"), used).values()) == {None}
