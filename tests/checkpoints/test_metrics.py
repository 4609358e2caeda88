"""Metrics become plain numbers as soon as the app returns them, or are refused with their name."""

import math
from fractions import Fraction

import numpy as np
import pytest
from flwr.common import MetricRecord
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from oneflower.checkpoints import normalised
from oneflower.errors import AppError

numbers = st.integers() | st.floats() | st.booleans()
anything = st.recursive(
    numbers
    | st.none()
    | st.text()
    | st.complex_numbers()
    | hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0)),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2) | st.tuples(inner)
    ),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (3, 3),
        (0.5, 0.5),
        (True, 1),
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), 1),
        (np.array(0.25), 0.25),
        (Fraction(1, 4), 0.25),
        ([1, 2], [1, 2]),
        ([1, 0.5], [1.0, 0.5]),
        ((np.float64(1.0), 2), [1.0, 2.0]),
        (np.arange(3), [0, 1, 2]),
        ([], []),
    ],
)
def test_numbers_of_any_type_become_python_numbers(value, plain):
    (back,) = normalised({"m": value}, source="s").values()
    assert back == plain
    assert type(back) is type(plain)
    assert back == [] or not isinstance(back, list) or type(back[0]) is type(plain[0])


def test_numbers_that_are_not_finite_are_kept():
    assert math.isnan(normalised({"loss": np.float32("nan")}, source="s")["loss"])


@pytest.mark.parametrize(
    "value",
    [
        [[5, 1], [0, 4]],
        np.eye(2),
        {"a": 1},
        "0.9",
        None,
        1j,
        object(),
        [1, "2"],
        [None],
        float,
        2**63,
        [2**63],
        Fraction(10**400),
        [Fraction(10**400)],
    ],
)
def test_a_metric_that_is_not_a_number_is_refused_with_its_name_and_what_is_expected(value):
    with pytest.raises(AppError) as refusal:
        normalised({"accuracy": 0.9, "confusion": value}, source="the central evaluation of round 0")
    text = str(refusal.value)
    assert text.startswith("the central evaluation of round 0 returned metric 'confusion' as ")
    assert "expected a number of 64 bits or a flat list of them" in text


def test_a_name_that_is_not_text_is_refused():
    with pytest.raises(AppError, match=r"a metric named int 3: expected text"):
        normalised({3: 0.5}, source="s")


def test_a_tuple_of_loss_and_metrics_is_refused_with_what_to_return_instead():
    with pytest.raises(AppError, match=r'Return \{"loss": loss, \*\*metrics\} instead of \(loss, metrics\)'):
        normalised((0.5, {"accuracy": 0.9}), source="s")
    with pytest.raises(AppError, match="or None where nothing was measured"):
        normalised(0.5, source="s")


@given(st.dictionaries(st.text(), anything, max_size=3))
def test_accepted_metrics_fit_flowers_record_and_stay_unchanged(metrics):
    try:
        plain = normalised(metrics, source="s")
    except AppError:
        return
    assert dict(MetricRecord(plain)) == plain or repr(dict(MetricRecord(plain))) == repr(plain)
    assert repr(normalised(plain, source="s")) == repr(plain)
    assert list(plain) == list(metrics)
