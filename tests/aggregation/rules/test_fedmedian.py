"""FedMedian."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from oneflower.aggregation import spec_of

from ..conftest import RULES, random_updates, stacked, updates

median = RULES["FedMedian"]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 10, 16, 31, 50])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_numpys_median_to_the_last_bit(count, dtype):
    sent = random_updates(count, 257, seed=count, dtype=dtype)
    np.testing.assert_array_equal(median(sent).model["w"], np.median(stacked(sent), axis=0))


def test_a_model_longer_than_a_block_is_treated_alike_throughout():
    sent = random_updates(6, 100_003)
    np.testing.assert_array_equal(median(sent).model["w"], np.median(stacked(sent), axis=0))


def test_two_large_values_have_a_finite_middle():
    """Flower's overflows: numpy.median adds them first."""
    top = np.finfo(np.float32).max
    sent = updates(*[np.array([top], np.float32)] * 4)
    np.testing.assert_allclose(median(sent).model["w"], [top], rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    honest=arrays(np.float32, (4, 6), elements=st.floats(-1e3, 1e3, width=32)),
    attacks=arrays(np.float32, (3, 6), elements=st.floats(-(2.0**120), 2.0**120, width=32)),
)
def test_a_minority_cannot_move_a_coordinate_beyond_what_honest_clients_sent(honest, attacks):
    result = median(updates(*honest, *attacks)).model["w"]
    assert (result >= honest.min(axis=0)).all()
    assert (result <= honest.max(axis=0)).all()


@pytest.mark.parametrize(("clients", "said"), [(1, True), (2, True), (3, False)])
def test_a_median_that_is_a_mean_is_said(clients, said):
    assert (spec_of("FedMedian").advice({}, clients) is not None) == said
