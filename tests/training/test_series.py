"""Packed metrics are what Flower's dict of records would be, in a tenth of the memory."""

import tracemalloc

import pytest
from flwr.common import MetricRecord
from hypothesis import given
from hypothesis import strategies as st

from oneflower.training.series import Series

values = (
    st.floats() | st.integers() | st.lists(st.floats(), max_size=2) | st.lists(st.integers(0, 9), max_size=2)
)
metrics = st.dictionaries(st.sampled_from("abc"), values)


@given(st.lists(st.tuples(st.integers(0, 9), metrics | st.none())))
def test_it_behaves_as_a_dict_of_records(steps):
    """Whatever is set, set again and deleted, in whatever order."""
    plain, packed = {}, Series()
    for number, given_metrics in steps:
        if given_metrics is None:
            assert repr(packed.pop(number, None)) == repr(plain.pop(number, None))
        else:
            plain[number] = MetricRecord(given_metrics)
            packed[number] = MetricRecord(given_metrics)
    in_order = dict(sorted(plain.items()))
    assert repr(dict(packed)) == repr(in_order) == repr(packed)
    assert list(reversed(packed)) == list(reversed(in_order))
    assert len(packed) == len(plain)
    assert all(type(v) is type(plain[n][k]) for n, record in packed.items() for k, v in record.items())


def test_a_round_that_is_not_there_is_a_key_error():
    series = Series()
    for ask in (lambda: series[1], lambda: series.__delitem__(1)):
        with pytest.raises(KeyError):
            ask()
    assert 1 not in series
    assert series.get(1) is None


def test_ten_thousand_rounds_take_less_than_a_tenth_of_flowers_records():
    def memory(series):
        tracemalloc.start()
        for number in range(10_000):
            series[number] = MetricRecord({"accuracy": number / 7, "loss": 1.0 / (number + 1)})
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return size

    assert memory(Series()) * 10 < memory({})
