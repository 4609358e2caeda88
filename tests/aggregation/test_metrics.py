"""Averaging what clients measured."""

import math

import pytest

from oneflower.aggregation import weighted_metrics

from .conftest import update


def average(*clients):
    sent = [
        update({}, num_examples=weight, **values, **{"num-examples": weight}) for weight, values in clients
    ]
    return weighted_metrics(sent)


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
