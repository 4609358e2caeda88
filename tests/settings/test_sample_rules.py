"""Enough clients must be drawn for a round; what is probably not intended is said."""

import pytest

from oneflower.errors import SettingsError
from oneflower.settings import resolve


def texts(**given):
    return [notice.text for notice in resolve({f"FL_{name}": value for name, value in given.items()}).notices]


KRUM = {"STRATEGY": "Krum", "NUM_MALICIOUS": "2"}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"CLIENTS_PER_ROUND": "1"}, "FL_MIN_FIT_CLIENTS is 2: 1 client never gives 2 updates; expected"),
        (
            {"CLIENTS_PER_ROUND": "1"},
            "FL_CLIENTS_PER_ROUND=2 or more, or 0 for all clients; or set FL_MIN_FIT",
        ),
        (
            {"CLIENTS_PER_ROUND": "10", "EVALUATE_CLIENTS_PER_ROUND": "4", "MIN_EVALUATE_CLIENTS": "5"},
            "FL_EVALUATE_CLIENTS_PER_ROUND is 4 and FL_MIN_EVALUATE_CLIENTS is 5: 4 clients never give 5",
        ),
        (
            {"CLIENTS_PER_ROUND": "6", "MIN_AVAILABLE_CLIENTS": "50", **KRUM},
            "FL_CLIENTS_PER_ROUND is 6, and FL_STRATEGY=Krum, FL_NUM_MALICIOUS=2 needs 7 clients in a round",
        ),
        ({"CLIENTS_PER_ROUND": "9", **KRUM, "PRE_AGGREGATION": "bucketing"}, "needs 13 clients in a round"),
    ],
)
def test_a_draw_below_what_a_round_needs_is_refused(given, problem):
    with pytest.raises(SettingsError) as caught:
        texts(**given)
    assert problem in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "given",
    [
        {"CLIENTS_PER_ROUND": "2"},
        {"CLIENTS_PER_ROUND": "7", "STRATEGY": "Krum", "NUM_MALICIOUS": "2"},
        {"CLIENTS_PER_ROUND": "1", "MIN_FIT_CLIENTS": "1", "EVALUATE_CLIENTS_PER_ROUND": "2"},
        {"ROUND_DEADLINE": "10"},
    ],
)
def test_a_draw_that_is_enough_is_accepted(given):
    texts(**given)


@pytest.mark.parametrize("bad", ["-1", "ten", "2.5"])
def test_a_value_that_is_no_number_of_clients_is_refused_by_itself(bad):
    with pytest.raises(SettingsError, match="expected a whole number of clients, 0 or more") as caught:
        texts(CLIENTS_PER_ROUND=bad)
    assert "1 problem in the settings" in str(caught.value)


def test_the_preflight_counts_the_clients_that_are_drawn():
    given = {
        "CLIENTS_PER_ROUND": "7",
        "MIN_AVAILABLE_CLIENTS": "100",
        "STRATEGY": "Krum",
        "NUM_MALICIOUS": "2",
    }
    found = resolve({f"FL_{name}": value for name, value in given.items()})
    assert found.preflight.startswith("For 7 clients (FL_CLIENTS_PER_ROUND) and f = 2")
    assert "Bulyan" not in found.preflight.partition(".")[0]


def test_a_rule_that_withstands_fewer_of_the_drawn_clients_is_warned_of():
    given = {"CLIENTS_PER_ROUND": "5", "MIN_AVAILABLE_CLIENTS": "100", "NUM_MALICIOUS": "3"}
    assert any(
        "FL_STRATEGY=FedMedian withstands 2 of 5 clients" in t for t in texts(STRATEGY="FedMedian", **given)
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"CLIENTS_PER_ROUND": "10", "MIN_AVAILABLE_CLIENTS": "10"},
            "a round draws from the clients that are",
        ),
        ({"OVERSAMPLING": "0.5"}, "FL_OVERSAMPLING has no effect: FL_CLIENTS_PER_ROUND is 0"),
        (
            {"CLIENTS_PER_ROUND": "10", "OVERSAMPLING": "0.5"},
            "FL_OVERSAMPLING is 0.5 and FL_ROUND_DEADLINE is 0: a client that is late is waited for",
        ),
        (
            {"EVALUATE_CLIENTS_PER_ROUND": "10", "MIN_EVALUATE_CLIENTS": "0"},
            "FL_EVALUATE_CLIENTS_PER_ROUND has no effect: FL_MIN_EVALUATE_CLIENTS is 0",
        ),
    ],
)
def test_what_is_probably_not_intended_is_said(given, said):
    assert any(said in text for text in texts(**given))


def test_a_draw_from_all_with_a_deadline_gives_no_notice():
    given = {"CLIENTS_PER_ROUND": "10", "MIN_AVAILABLE_CLIENTS": "100", "OVERSAMPLING": "0.2"}
    assert texts(ROUND_DEADLINE="30", **given) == []
