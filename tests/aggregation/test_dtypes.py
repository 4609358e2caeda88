"""Every rule keeps shapes and dtypes, whatever a model is made of."""

import numpy as np
import pytest

from oneflower.aggregation import AggregationError

from .conftest import FEWEST, MEANS, RULES, SPECS_BY_NAME, random_updates, stacked, update, updates

rules = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
means = pytest.mark.parametrize("rule", MEANS.values(), ids=MEANS)


@means
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0, 2), (2, 3, 4), (40_000,)], ids=str)
@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, np.longdouble], ids=lambda t: t.__name__
)
def test_floats_keep_shape_and_dtype_and_stay_among_the_clients(rule, shape, dtype):
    given = random_updates(FEWEST, shape, dtype=dtype)
    result = rule(given).model["w"]
    assert isinstance(result, np.ndarray)
    assert (result.shape, result.dtype) == (shape, np.dtype(dtype))
    values = stacked(given)
    slack = 4 * np.finfo(dtype).eps * np.abs(values).max(initial=0)
    assert (result >= values.min(axis=0) - slack).all()
    assert (result <= values.max(axis=0) + slack).all()


@rules
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64, np.bool_])
def test_integers_keep_their_dtype_and_stay_among_the_clients(rule, dtype):
    rng = np.random.default_rng(1)
    given = updates(
        *[rng.integers(0, 2 if dtype == np.bool_ else 100, (3, 4)).astype(dtype) for _ in range(9)]
    )
    result = rule(given).model["w"]
    assert (result.shape, result.dtype) == ((3, 4), np.dtype(dtype))
    assert ((result >= stacked(given).min(axis=0)) & (result <= stacked(given).max(axis=0))).all()


@rules
@pytest.mark.parametrize(
    "value",
    [np.int64(2**62 + 1), np.int64(-(2**63)), np.uint64(2**64 - 1), np.int8(-128), np.bool_(True)],
    ids=repr,
)
def test_a_counter_that_all_clients_agree_on_is_kept_exactly(rule, value):
    given = updates(*[{"w": np.ones(2, np.float32) * i, "n": np.array(value)} for i in range(FEWEST)])
    result = rule(given).model["n"]
    assert result == value
    assert result.dtype == value.dtype


def test_integers_at_both_ends_of_their_range_have_their_mean_between():
    ends = np.iinfo(np.int64)
    given = updates(np.array([ends.min]), np.array([ends.max]), weights=[1.0, 1.0])
    assert abs(int(RULES["FedAvg"](given).model["w"][0])) <= 2**11


def test_integer_means_are_rounded_and_weighted():
    given = updates(np.array([0, 10]), np.array([3, 20]), weights=[1.0, 3.0])
    assert RULES["FedAvg"](given).model["w"].tolist() == [2, 18]


def test_arrays_of_many_dtypes_in_one_model_and_in_fortran_order():
    rng = np.random.default_rng(2)
    given = updates(
        *[
            {
                "a": np.asfortranarray(rng.standard_normal((3, 4)).astype(np.float32)),
                "b": np.array(i),
                "c": rng.standard_normal(5),
                "d": rng.standard_normal(5).astype(np.float16),
            }
            for i in range(FEWEST)
        ]
    )
    for rule in RULES.values():
        result = rule(given).model
        assert [a.dtype.name for a in result.values()] == ["float32", "int64", "float64", "float16"]
    expected = np.average(stacked(given, "a"), axis=0, weights=[u.num_examples for u in given])
    np.testing.assert_allclose(RULES["FedAvg"](given).model["a"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", RULES)
def test_extreme_but_finite_values_give_a_finite_model_or_none(name):
    """The square of such a change is no float32: the adaptive optimizers refuse it (decision 176)."""
    top = np.finfo(np.float32).max
    given = updates(*[np.array([top, -top, top if i % 2 else -top], np.float32) for i in range(FEWEST)])
    if "v/w" in SPECS_BY_NAME[name].init(given[0].arrays):
        with pytest.raises(AggregationError, match="optimizer's v of array 'w' would be infinite"):
            RULES[name](given)
    else:
        assert np.isfinite(RULES[name](given).model["w"]).all()


@rules
def test_updates_of_different_forms_are_refused_by_name(rule):
    good, model = random_updates(FEWEST, 3), {"w": np.zeros(3, np.float32)}
    for odd in (np.ones(4, np.float32), np.ones(3), {"v": np.ones(3, np.float32)}):
        with pytest.raises(AggregationError, match="the update of client 99 differs"):
            rule([*good, update(odd, client=99, num_examples=99.0)], model)


@rules
def test_inputs_are_only_read(rule):
    given = random_updates(FEWEST, 1000)
    for one in given:
        one.arrays["w"].flags.writeable = False
    model = {"w": np.zeros(1000, np.float32)}
    model["w"].flags.writeable = False
    rule(given, model)
