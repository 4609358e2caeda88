"""Arrays are made and read quickly, with the bytes, values and errors of Flower's own way."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from oneflower.flower.v1_25.workarounds.quick_arrays import WORKAROUND

DTYPES = (
    "bool",
    "int8",
    "uint16",
    "<i4",
    ">i8",
    "float16",
    "<f4",
    ">f4",
    "float64",
    "complex64",
    "<U3",
    "<M8[s]",
)
any_array = st.sampled_from(DTYPES).flatmap(
    lambda dtype: arrays.arrays(np.dtype(dtype), arrays.array_shapes(min_dims=0, min_side=0, max_dims=4))
)
LAYOUTS = {
    "as it is": lambda values: values,
    "Fortran's order": np.asfortranarray,
    "every second": lambda values: values[..., ::2] if values.ndim else values,
    "a subclass": lambda values: values.view(np.recarray),
}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=any_array, layout=st.sampled_from(sorted(LAYOUTS)))
def test_bytes_and_values_are_those_of_flower(values, layout):
    values = LAYOUTS[layout](values)
    expected = Array(values)
    read = expected.numpy()
    with pytest.MonkeyPatch.context() as patch:
        WORKAROUND.apply(patch.setattr)
        made = Array(values)
        again = made.numpy()
    assert (made.dtype, made.shape, made.stype) == (expected.dtype, expected.shape, expected.stype)
    assert made.data == expected.data
    assert made.object_id == expected.object_id
    assert (again.dtype, again.shape, again.tobytes()) == (read.dtype, read.shape, read.tobytes())
    assert again.flags.writeable
    assert again.flags.f_contiguous == read.flags.f_contiguous


def test_what_is_read_is_a_copy(apply):
    apply(WORKAROUND)
    array = Array(np.zeros(3, np.float32))
    array.numpy()[:] = 1
    assert not array.numpy().any()


def test_an_array_that_is_changed_has_another_id(apply):
    apply(WORKAROUND)
    array = Array(np.zeros(3))
    before = array.object_id
    array.data = Array(np.ones(3)).data
    assert array.object_id != before


@pytest.mark.parametrize(
    "fields",
    [
        {"dtype": "float32", "shape": (1,), "stype": "numpy.ndarray"},
        {"dtype": "float32", "shape": [1], "stype": "numpy.ndarray", "data": b""},
        {"dtype": "float32", "shape": (1.0,), "stype": "numpy.ndarray", "data": b""},
        {"dtype": "float32", "shape": (1,), "stype": "numpy.ndarray", "data": memoryview(b"")},
        {"ndarray": [1.0]},
    ],
)
def test_what_flower_refuses_is_refused(apply, fields):
    with pytest.raises(TypeError) as expected:
        Array(**fields)
    apply(WORKAROUND)
    with pytest.raises(TypeError) as refused:
        Array(**fields)
    assert str(refused.value) == str(expected.value)


@pytest.mark.parametrize(
    "data", [b"", b"rubbish", Array(np.zeros(3)).data[:-1], Array(np.zeros(3)).data[:20]]
)
def test_bytes_that_are_no_array_raise_what_flower_raises(apply, data):
    array = Array(dtype="float64", shape=(3,), stype="numpy.ndarray", data=data)
    with pytest.raises(Exception) as expected:  # noqa: PT011 - NumPy's own
        array.numpy()
    apply(WORKAROUND)
    with pytest.raises(type(expected.value)):
        array.numpy()


def test_a_record_is_made_of_them(apply):
    apply(WORKAROUND)
    values = {"w": np.arange(6.0).reshape(2, 3), "count": np.array(3)}
    record = ArrayRecord({name: Array(each) for name, each in values.items()})
    for name, each in values.items():
        np.testing.assert_array_equal(record[name].numpy(), each)


def test_a_record_holds_arrays_of_its_own(apply):
    given = {"a": Array(np.ones(3)), "b": Array(np.array(2, np.int8))}
    expected = ArrayRecord(given)
    apply(WORKAROUND)
    made = ArrayRecord(given)
    assert made == expected
    assert made.object_id == expected.object_id
    assert vars(made).keys() == vars(expected).keys()
    made["a"].data = b"x"
    assert given["a"] == expected["a"]
    made["c"] = given["a"]
    assert list(made) == ["a", "b", "c"]
    with pytest.raises(TypeError):
        made["d"] = 3


@pytest.mark.parametrize(
    "given", [{"a": 3}, {3: Array(np.ones(1))}, {"a": Array(np.ones(1)), "b": np.ones(1)}, 7, [3]], ids=repr
)
def test_what_is_no_record_is_refused_in_flowers_words(given, apply):
    with pytest.raises(TypeError) as expected:
        ArrayRecord(given)
    apply(WORKAROUND)
    with pytest.raises(TypeError) as found:
        ArrayRecord(given)
    assert str(found.value) == str(expected.value)


def test_other_ways_to_make_a_record_are_flowers(apply):
    apply(WORKAROUND)
    values = [np.ones(2), np.zeros(1, np.int8)]
    assert [each.numpy().tolist() for each in ArrayRecord(values).values()] == [[1, 1], [0]]
    arrays = {"a": Array(values[0])}
    assert list(ArrayRecord(array_dict=dict(arrays))) == ["a"]
    given = dict(arrays)
    assert list(ArrayRecord(given, keep_input=False)) == ["a"]
    assert not given
    assert not ArrayRecord()
    assert not ArrayRecord({})
