"""The bound on a client's change: who is over it, what becomes of that, and who is left as they were."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from oneflower.aggregation import Update, bound_changes, ordered
from oneflower.aggregation.norms import change_norm
from oneflower.codes import LeftOutCode

from .conftest import same_bytes, update

SENT = {
    "w": np.ones((2, 3), np.float32),
    "bn.running_var": np.ones(3, np.float32),
    "bn.num_batches_tracked": np.array(4, np.int64),
}


def moved(by, client=0, var=0.1, batches=5, num_examples=10.0):
    """Return an update whose weights are `by` longer than what was sent, in each coordinate."""
    return update(
        {
            "w": (SENT["w"] + by).astype(np.float32),
            "bn.running_var": (SENT["bn.running_var"] + var).astype(np.float32),
            "bn.num_batches_tracked": SENT["bn.num_batches_tracked"] + batches,
        },
        client=client,
        num_examples=num_examples + client,
    )


def bounded(updates, model=SENT, factor=5.0, counters=50.0):
    return bound_changes(ordered(updates), model, factor, counters)


def by_client(result):
    return {each.client: each for each in result.updates}


def test_who_is_within_the_bound_is_the_same_object():
    sent = [moved(by, client) for client, by in enumerate([0.1, 0.2, -0.3, 0.4])]
    result = bounded(sent)
    assert set(result.updates) == set(sent)
    assert result.remarks == ()


@pytest.mark.parametrize("value", [5.0, 1e22, 3.4e38, -3.4e38])
def test_a_change_above_the_bound_gets_the_length_of_the_median_and_keeps_its_direction(value):
    sent = [moved(by, client) for client, by in enumerate([0.1, 0.2, 0.3, value])]
    result = bounded(sent)
    change = by_client(result)[3].arrays["w"].astype(np.float64) - 1
    assert change == pytest.approx(math.copysign(0.2, value), rel=1e-5)
    (remark,) = result.remarks
    assert (remark.client, remark.code) == (3, LeftOutCode.CHANGE)
    assert "expected at most 5 times: scaled down to the median" in remark.reason
    assert all(by_client(result)[i] is sent[i] for i in range(3))


def test_one_coordinate_is_enough():
    evil = moved(0.1, 3)
    weights = evil.arrays["w"].copy()
    weights[1, 2] = 3.4e38
    evil = replace(evil, arrays={**evil.arrays, "w": weights})
    result = by_client(bounded([*(moved(0.1, client) for client in range(3)), evil]))[3]
    assert np.abs(result.arrays["w"] - 1).max() < 0.3


def test_statistics_and_integers_have_bounds_of_their_own():
    """They would hide in the size of the weights, or the weights in theirs."""
    sent = [moved(1e3, client) for client in range(3)]
    result = bounded([*sent, moved(1e3, 3, var=3e38), moved(1e3, 4, batches=2**60)])
    var, counter = by_client(result)[3], by_client(result)[4]
    assert var.arrays["bn.running_var"] == pytest.approx(1.1)
    assert var.arrays["w"].tobytes() == sent[0].arrays["w"].tobytes()
    assert counter.arrays["bn.num_batches_tracked"] == 4
    assert [(each.client, each.reason.split(" is ")[0]) for each in result.remarks] == [
        (3, "the change of its BatchNorm statistics"),
        (4, "the change of its integers"),
    ]


def test_a_client_that_changes_nothing_does_not_lower_the_bound_for_the_others():
    sent = [moved(0, client) for client in range(5)] + [moved(1, 5), moved(2, 6)]
    assert set(bounded(sent).updates) == set(sent)


@pytest.mark.parametrize("sent", [[], [moved(1e30)], [moved(0), moved(1e30, 1)]])
def test_with_nothing_to_compare_nothing_is_bounded(sent):
    assert set(bounded(sent).updates) == set(sent)


def test_of_two_clients_the_smaller_change_is_the_measure():
    result = by_client(bounded([moved(0.1, 0), moved(3e38, 1)]))
    assert result[1].arrays["w"] == pytest.approx(1.1, rel=1e-5)


def test_half_of_the_clients_cannot_outvote_the_others_with_large_changes():
    sent = [moved(0.1, client) for client in range(3)] + [moved(1e30, 60 + i) for i in range(3)]
    assert all(np.abs(each.arrays["w"] - 1).max() < 0.2 for each in bounded(sent).updates)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_largest_numbers_of_a_dtype_leave_finite_ones(dtype):
    top = np.finfo(dtype).max
    model = {"w": np.array([-top, top, 0], dtype)}
    near = [update({"w": model["w"] + np.array([0, 0, 0.5], dtype)}, i) for i in range(3)]
    result = bound_changes(ordered([*near, update({"w": -model["w"]}, 3)]), model, 5.0)
    for each in result.updates:
        assert np.isfinite(each.arrays["w"]).all()
    assert [remark.client for remark in result.remarks] == [3]


def test_a_bool_array_far_from_the_others_is_what_was_sent():
    model = {"mask": np.zeros(1000, bool)}
    one = model["mask"].copy()
    one[0] = True
    sent = [update({"mask": one}, client) for client in range(3)] + [update({"mask": ~model["mask"]}, 3)]
    result = by_client(bound_changes(ordered(sent), model, 5.0, 10.0))
    assert not result[3].arrays["mask"].any()


def test_zero_is_no_bound():
    sent = [moved(0.1, 0), moved(0.1, 1), moved(3e38, 2, batches=2**60)]
    assert set(bounded(sent, factor=0, counters=0).updates) == set(sent)
    assert by_client(bounded(sent, factor=5, counters=0))[2].arrays["bn.num_batches_tracked"] == 4 + 2**60


VALUES = st.floats(-(2.0**100), 2.0**100, width=32)
MODELS = st.lists(hnp.arrays(np.float32, 4, elements=VALUES), min_size=1, max_size=7)


def sent_by(models):
    return [Update(client=i, arrays={"w": each}, num_examples=1.0) for i, each in enumerate(models)]


@given(MODELS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_arrival_changes_nothing(models, random):
    sent, model = sent_by(models), {"w": np.ones(4, np.float32)}
    first = bound_changes(ordered(sent), model, 5.0).updates
    random.shuffle(sent)
    second = bound_changes(ordered(sent), model, 5.0).updates
    assert all(same_bytes(left.arrays, right.arrays) for left, right in zip(first, second, strict=True))


@given(MODELS)
@settings(max_examples=60, deadline=None)
def test_afterwards_nobody_is_above_the_bound_and_nobody_within_it_was_touched(models):
    model = {"w": np.ones(4, np.float32)}
    sent = ordered(sent_by(models))
    norms = [change_norm(each, model, ["w"]) for each in sent]
    positive = sorted(norm for norm in norms if norm > 0)
    median = positive[(len(positive) - 1) // 2] if positive else 0.0
    after = bound_changes(sent, model, 5.0).updates
    for before, norm, now in zip(sent, norms, after, strict=True):
        if norm <= 5 * median:
            assert now is before
        else:
            assert change_norm(now, model, ["w"]) <= 1.01 * median + 1e-5


@given(MODELS, st.sampled_from([0.25, 2.0, 8.0]))
@settings(max_examples=60, deadline=None)
def test_who_is_above_the_bound_does_not_depend_on_the_scale(models, scale):
    model = {"w": np.zeros(4, np.float32)}
    models = [np.where(np.abs(each) < 1e-30, 0, each).astype(np.float32) for each in models]
    over = [each.client for each in bound_changes(ordered(sent_by(models)), model, 5.0).remarks]
    scaled = [(each * np.float32(scale)).astype(np.float32) for each in models]
    assert over == [each.client for each in bound_changes(ordered(sent_by(scaled)), model, 5.0).remarks]


@pytest.mark.parametrize("scale", [2.0**-1060, 2.0**-800, 2.0**-500, 1.0, 2.0**500, 2.0**800, 2.0**1020])
def test_the_norm_of_a_change_is_right_at_every_scale_of_float64(scale):
    model = {"a": np.zeros((2, 2)), "b": np.zeros(1)}
    change = update({"a": np.array([[1.0, -2.0], [2.0, 0.0]]) * scale, "b": np.array([4.0]) * scale})
    assert change_norm(change, model, model) == 5 * scale
    assert change_norm(change, model, ["b"]) == 4 * scale


@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1e170, 1e300])
def test_changes_whose_squares_leave_float64_are_bounded_as_others_are(scale):
    model = {"w": np.zeros(4)}
    near = [update({"w": np.full(4, scale * (1 + i / 10))}, i) for i in range(3)]
    result = bound_changes(ordered([*near, update({"w": np.full(4, -1e3 * scale)}, 3)]), model, 10.0)
    assert by_client(result)[3].arrays["w"] == pytest.approx(-1.1 * scale, rel=1e-9, abs=0)
    assert all(by_client(result)[i] is near[i] for i in range(3))


def test_a_change_that_float64_does_not_hold_is_what_was_sent():
    model = {"w": np.full(4, -1.7e308)}
    near = [update({"w": model["w"] * (0.5 + i / 10)}, i) for i in range(3)]
    result = bound_changes(ordered([*near, update({"w": np.full(4, 1.7e308)}, 3)]), model, 10.0)
    assert (by_client(result)[3].arrays["w"] == model["w"]).all()
    assert [remark.client for remark in result.remarks] == [3]


SIZES = st.lists(st.sampled_from([0, 1, 7, 129, 4_096, 4_097, 40_000]), min_size=1, max_size=30)


@given(sizes=SIZES, seed=st.integers(0, 99), dtypes=st.lists(st.sampled_from("efdd"), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_small_arrays_that_are_subtracted_together_have_the_norm_of_each_by_itself(sizes, seed, dtypes):
    rng = np.random.default_rng(seed)
    model, moved_to, square = {}, {}, 0.0
    for i, size in enumerate(sizes):
        dtype = np.dtype(dtypes[i % len(dtypes)])
        model[f"w{i}"], moved_to[f"w{i}"] = (rng.normal(size=size).astype(dtype) for _ in range(2))
        change = moved_to[f"w{i}"].astype(float) - model[f"w{i}"].astype(float)
        for begin in range(0, size, 32_768):
            part = change[begin : begin + 32_768]
            square += float((part * part).sum())
    assert change_norm(update(moved_to), model, list(model)) == math.sqrt(square)
