"""Averaging what clients measured."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.aggregation import median_metrics, weighted_metrics

from .conftest import update


def sent_by(*clients):
    return [
        update({}, num_examples=weight, **values, **{"num-examples": weight}) for weight, values in clients
    ]


def average(*clients):
    return weighted_metrics(sent_by(*clients))


def middle(*clients):
    return median_metrics(sent_by(*clients))


def test_metrics_are_weighted_and_the_weight_is_not_one_of_them():
    assert average((1, {"loss": 4.0}), (3, {"loss": 0.0})) == {"loss": 1.0}


def test_lists_are_averaged_item_by_item():
    assert average((1, {"x": [1.0, 2.0]}), (1, {"x": [3, 4]})) == {"x": [2.0, 3.0]}
    assert average((1, {"x": []}), (1, {"x": []})) == {"x": []}


def test_a_metric_that_a_client_lacks_is_averaged_over_the_others():
    """Flower would add up what is there, and so report too little."""
    clients = [(1, {"acc": 0.8}), (1, {"acc": 0.6}), (2, {})]
    assert average(*clients)["acc"] == pytest.approx(0.7)


def test_a_metric_that_at_most_half_of_the_clients_send_is_left_out():
    assert average((1, {"acc": 0.8}), (1, {})) == {}
    assert average((1, {"acc": 0.8})) == {"acc": 0.8}


@pytest.mark.parametrize("bad", [math.nan, math.inf, [1.0, math.nan]])
def test_values_that_are_not_finite_do_not_enter(bad):
    assert average((1, {"x": 2.0}), (1, {"x": 4.0}), (9, {"x": bad})) == {"x": 3.0}
    assert average((1, {"x": bad}), (9, {"x": bad})) == {}


def test_the_most_frequent_form_is_averaged():
    assert average((1, {"x": 2.0}), (1, {"x": 4}), (9, {"x": [7.0]})) == {"x": 3.0}
    assert average((1, {"x": [1.0]}), (1, {"x": [3.0]}), (9, {"x": [7.0, 8.0]})) == {"x": [2.0]}


def test_the_order_of_clients_does_not_change_which_metrics_come_out():
    clients = [(1, {"a": 1.0, "b": [1.0]}), (2, {"b": 5.0, "a": 2.0}), (3, {"a": 3.0, "c": 1.0})]
    forward, backward = average(*clients), average(*clients[::-1])
    assert forward == pytest.approx(backward)


def test_no_clients_have_no_metrics():
    assert average() == {}


# --- numbers that decide something ---------------------------------------------------------------------


def test_a_single_client_moves_no_number_that_decides():
    """One reply with a loss of -1e9 ended the training and was the best round for ever."""
    honest = (1, {"loss": 0.5}), (1, {"loss": 0.6})
    assert middle(*honest, (20, {"loss": -1e9})) == {"loss": 0.5}
    assert middle(*honest, (20, {"loss": 1e9})) == {"loss": 0.6}


def test_of_two_clients_the_number_is_their_weighted_mean():
    assert middle((1, {"loss": 4.0}), (3, {"loss": 0.0})) == {"loss": 1.0}
    assert middle((1, {"x": [1.0, 2.0]})) == {"x": [1.0, 2.0]}


def test_of_an_even_number_the_two_in_the_middle_are_averaged():
    assert middle(*[(1, {"loss": loss}) for loss in (0.0, 1.0, 2.0, 100.0)]) == {"loss": 1.5}


def test_each_item_of_a_list_has_its_own_median():
    assert middle((1, {"x": [1, 9]}), (1, {"x": [2, 8]}), (1, {"x": [1e9, -1e9]})) == {"x": [2.0, 8.0]}


numbers = st.floats(-1e3, 1e3)
weights = st.floats(1e-3, 2.0**53)


@given(st.lists(st.tuples(weights, numbers), min_size=1, max_size=15), st.data())
def test_a_minority_leaves_the_number_between_those_of_the_others(honest, data):
    """Whatever it says and weighs: the law that decisions rest on."""
    said = st.floats(allow_nan=True, allow_infinity=True)
    hostile = data.draw(st.lists(st.tuples(weights, said), max_size=len(honest) - 1))
    found = middle(*[(weight, {"loss": value}) for weight, value in [*hostile, *honest]])
    values = [value for _, value in honest]
    assert min(values) <= found["loss"] <= max(values)


@given(st.permutations([(float(i + 1), {"loss": i * 0.1}) for i in range(6)]))
def test_the_order_of_clients_does_not_change_the_median(clients):
    assert middle(*clients)["loss"] == pytest.approx(middle(*sorted(clients, key=str))["loss"])
