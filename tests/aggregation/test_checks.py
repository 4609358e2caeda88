"""What an update must look like."""

import numpy as np
import pytest

from oneflower.aggregation import (
    AggregationError,
    ArraySpec,
    are_finite,
    check_array,
    check_names,
    check_num_examples,
    model_schema,
)

MODEL = {
    "weight": np.ones((2, 3), np.float32),
    "counter": np.array(3),
    "scale": np.ones(2, np.float16),
}
SCHEMA = model_schema(MODEL)


def check(arrays, schema=SCHEMA):
    """Check names first and then each array, as a reply is parsed."""
    reasons = (check_array(name, arrays[name], spec) for name, spec in schema.items())
    return check_names(arrays, schema) or next(filter(None, reasons), None)


def test_an_update_of_the_models_form_passes():
    assert check(MODEL) is None


def test_names_may_come_in_another_order():
    assert check(dict(reversed(MODEL.items()))) is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"weight": None}, ["'weight'", "missing", "3 arrays"]),
        ({"more": np.ones(1)}, ["'more'", "not in the model"]),
        ({"weight": np.ones((3, 2), np.float32)}, ["'weight'", "[3, 2]", "[2, 3]"]),
        ({"weight": np.ones(3, np.float32)}, ["'weight'", "[3]", "[2, 3]"]),
        ({"weight": np.ones((2, 3))}, ["'weight'", "float64", "float32"]),
        ({"weight": np.ones((2, 3), ">f4")}, ["'weight'", ">f4", "float32"]),
        ({"counter": np.array([3])}, ["'counter'", "[1]", "[]"]),
        ({"scale": np.array([1, np.inf], np.float16)}, ["'scale'", "NaN or infinity"]),
        ({"weight": np.full((2, 3), np.nan, np.float32)}, ["'weight'", "NaN or infinity"]),
    ],
)
def test_a_difference_is_named_with_what_was_expected(changed, words):
    arrays = {name: array for name, array in (MODEL | changed).items() if array is not None}
    reason = check(arrays)
    assert all(word in reason for word in words), reason


def test_one_bad_value_in_a_large_array_is_found():
    array = np.zeros(100_000, np.float32)
    schema = model_schema({"w": array})
    for position in (0, 32_768, 99_999):
        bad = array.copy()
        bad[position] = -np.inf
        assert "NaN or infinity" in check({"w": bad}, schema)


def test_many_missing_arrays_do_not_fill_the_log():
    schema = model_schema({f"layer{i}": np.ones(1) for i in range(100)})
    assert len(check({}, schema)) < 150


@pytest.mark.parametrize("value", [1, 0.5, 2**53, np.float64(3)])
def test_a_count_of_examples_is_a_finite_number_above_zero(value):
    assert check_num_examples(value) is None


@pytest.mark.parametrize(
    "value", [0, -1, -0.0, float("nan"), float("inf"), 2.0**54, 10**400, True, None, "5", [5], b"5"]
)
def test_anything_else_is_no_count_of_examples(value):
    reason = check_num_examples(value)
    assert "expected" in reason
    assert len(reason) < 150


def test_a_variance_below_zero_is_refused():
    """One of them in the mean, and the model's next output is NaN."""
    spec = ArraySpec((2,), np.dtype(np.float32))
    below = np.array([1, -0.5], np.float32)
    assert "variance below 0" in check_array("bn.running_var", below, spec)
    assert check_array("bn.running_var", np.array([1, -0.0], np.float32), spec) is None
    assert check_array("bn.running_mean", below, spec) is None


def test_bytes_that_are_no_bool_are_refused():
    """NumPy takes 0xff for true, and a mean of such bytes is no bool any more."""
    spec = ArraySpec((3,), np.dtype(bool))
    assert check_array("mask", np.array([True, False, True]), spec) is None
    assert check_array("mask", np.zeros((0,), bool), ArraySpec((0,), np.dtype(bool))) is None
    given = np.array([0, 255, 1], np.uint8).view(bool)
    assert "no bool" in check_array("mask", given, spec)


@pytest.mark.parametrize("array", [np.array(["a"]), np.ones(1, complex), np.array([None])])
def test_a_model_that_no_rule_can_average_is_refused_before_round_one(array):
    with pytest.raises(AggregationError, match="dtype"):
        model_schema({"w": array})


def test_a_model_without_arrays_is_refused():
    with pytest.raises(AggregationError, match="no arrays"):
        model_schema({})


@pytest.mark.parametrize("bad", [None, "weight", "scale"])
def test_small_arrays_are_looked_at_together(bad):
    arrays = {**{name: array.copy() for name, array in MODEL.items()}, "large": np.ones(5_000)}
    if bad:
        arrays[bad].flat[-1] = np.inf
    assert are_finite(arrays) == (frozenset() if bad else {"weight", "scale"})
    arrays["large"][3] = np.nan  # not one of them
    assert "large" not in are_finite(arrays)
