"""Events as lines for people; nothing that a client says can steer the terminal."""

import pytest

from oneflower.journal import EVENTS
from oneflower.monitor.history import History
from oneflower.monitor.lines import describe, duration, printable, size

QUIET = {"client_named", "reply_received", "round_aggregated", "settings_used"}


def test_a_completed_round_says_what_one_wants_to_know():
    history = History()
    event = {
        "event": "round_completed",
        "round": 2,
        "valid": 3,
        "seconds": 4.26,
        "central_metrics": {"loss": 0.41, "accuracy": 0.9},
    }
    history.take({"event": "training_started", "rounds": 5})
    history.take(event)
    assert describe(event, history) == (
        "round 2 of 5 done in 4.3 s, 3 updates, loss 0.4100, accuracy 0.9000, about 13 s left"
    )


def test_the_strategy_is_told_with_its_parameters():
    event = {"event": "training_started", "strategy": "Krum", "parameters": {"num_malicious": 2}, "rounds": 3}
    assert describe(event, History()) == "training starts: Krum (num_malicious 2), 3 rounds"


@pytest.mark.parametrize("name", sorted(set(EVENTS) - QUIET))
def test_every_event_has_a_line_even_when_its_fields_are_missing(name):
    assert describe({"event": name}, History())


@pytest.mark.parametrize("value", [None, "x", [], {}])
def test_odd_fields_never_raise(value):
    for name, fields in EVENTS.items():
        describe({"event": name, **dict.fromkeys(fields, value)}, History())


def test_unknown_events_have_no_line():
    assert describe({"event": "a thing of tomorrow"}, History()) is None


def test_control_characters_are_shown_not_sent():
    event = {"event": "client_failed", "round": 1, "client": "7", "reason": "\x1b[2J\rround 9 done\n"}
    assert describe(event, History()) == r"round 1: client 7 left out: \x1b[2J\rround 9 done\n"
    assert printable("Größe ≥ 5 €") == "Größe ≥ 5 €"


def test_fields_are_no_format_strings():
    event = {"event": "client_failed", "round": 1, "client": "{round.__class__}", "reason": "{0}"}
    assert describe(event, History()) == "round 1: client {round.__class__} left out: {0}"


def test_durations_and_sizes_read_well():
    assert [duration(s) for s in (0.4, 59.4, 65, 3725)] == ["0 s", "59 s", "1 min 05 s", "1 h 02 min"]
    assert [size(b) for b in (10, 429726, 2_500_000, 3e9)] == ["0.0 kB", "429.7 kB", "2.5 MB", "3.0 GB"]


def test_who_has_which_part_is_told_and_not_of_thousands():
    event = {"event": "parts_assigned", "round": 3, "members": [12, 11]}
    assert describe(event, History()) == "round 3: 2 parts of the data: VM 12 0, VM 11 1"
    event["members"] = list(range(5000))
    assert describe(event, History()).endswith("VM 7 7 and 4992 more")
