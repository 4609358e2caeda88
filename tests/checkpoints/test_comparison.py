"""The change between two models, array by array."""

import math

import numpy as np

from oneflower.checkpoints import compare


def test_each_array_has_its_largest_and_mean_absolute_change():
    (change,) = compare({"a": np.array([1.0, 2.0, 3.0])}, {"a": np.array([1.0, 0.0, 4.0])})
    assert (change.name, change.largest, change.mean) == ("a", 2.0, 1.0)


def test_integers_booleans_complex_and_single_numbers_are_compared_without_overflow():
    before = {"u": np.array(255, np.uint8), "b": np.array([True]), "c": np.array([0j]), "e": np.zeros(0)}
    after = {"u": np.array(0, np.uint8), "b": np.array([False]), "c": np.array([3 + 4j]), "e": np.zeros(0)}
    assert [change.largest for change in compare(before, after)] == [255.0, 1.0, 5.0, 0.0]


def test_nan_is_reported_and_infinities_do_not_warn():
    before, after = {"a": np.array([1.0, np.inf])}, {"a": np.array([math.nan, np.inf])}
    assert math.isnan(compare(before, after)[0].largest)


def test_arrays_that_cannot_be_compared_say_why():
    before = {"a": np.zeros(2), "b": np.zeros(2), "c": np.zeros(1, np.float32)}
    after = {"a": np.zeros(3), "c": np.zeros(1), "d": np.zeros(1)}
    assert {change.name: change.note for change in compare(before, after)} == {
        "a": "shape [2], then [3]",
        "b": "only in the first",
        "c": "dtype float32, then float64",
        "d": "only in the second",
    }
