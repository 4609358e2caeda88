"""Events as lines for people; nothing that a client says can steer the terminal."""

import pytest

from oneflower.foreign_text import printable
from oneflower.journal import EVENTS, BrokenEvent, Entry, TrainingState, UnknownEvent, reduce
from oneflower.monitor.text.lines import describe
from oneflower.monitor.text.values import duration, size

from ...making import entry, metrics

QUIET = {
    "clients_sampled",
    "gpu_seen",
    "reply_received",
    "round_aggregated",
    "settings_used",
    "updates_measured",
}


def test_a_completed_round_says_what_one_wants_to_know():
    history = TrainingState()
    event = entry(
        "round_completed",
        round=2,
        valid=3,
        seconds=4.26,
        metrics=metrics(central={"loss": 0.41, "accuracy": 0.9}),
    )
    history.take(entry("training_started", rounds=5))
    history.take(event)
    assert describe(event, history) == (
        "round 2 of 5 done in 4.3 s, 3 updates, loss 0.4100, accuracy 0.9000, about 13 s left"
    )


@pytest.mark.parametrize(
    ("left", "then"),
    [
        ({}, "the round is attempted again"),
        ({"tries_left": 1}, "the round is attempted again"),
        ({"tries_left": 0}, "this was the last attempt"),
    ],
    ids=["an earlier release", "one more", "the last"],
)
def test_a_failed_attempt_says_whether_another_follows(left, then):
    event = entry("round_failed", round=3, attempt=2, reason="1 of 2", **left)
    assert describe(event, TrainingState()) == (
        f"round 3 failed (attempt 2): 1 of 2; the model is unchanged, {then}"
    )


def test_the_strategy_is_told_with_its_parameters():
    event = entry("training_started", strategy="Krum", parameters={"num_malicious": 2}, rounds=3)
    assert describe(event, TrainingState()) == "training starts: Krum (num_malicious 2), 3 rounds"


@pytest.mark.parametrize("name", sorted(set(EVENTS) - QUIET))
def test_every_event_has_a_line(name):
    assert describe(entry(name), TrainingState())


def test_what_cannot_be_read_has_a_line_that_says_why():
    broken = Entry(None, BrokenEvent(line="{", why="it is no JSON"))
    assert describe(broken, TrainingState()) == "a line of the journal cannot be read: it is no JSON"
    later = Entry(None, UnknownEvent(kind="tomorrow", fields={}))
    assert describe(later, TrainingState()).startswith("tomorrow: an event of a later version")


def test_control_characters_are_shown_not_sent():
    event = entry("client_failed", round=1, client="7", reason="\x1b[2J\rround 9 done\n")
    assert describe(event, TrainingState()) == r"round 1: client 7 left out: \x1b[2J\rround 9 done\n"
    assert printable("Größe ≥ 5 €") == "Größe ≥ 5 €"


def test_fields_are_no_format_strings():
    event = entry("client_failed", round=1, client="{round.__class__}", reason="{0}")
    assert describe(event, TrainingState()) == "round 1: client {round.__class__} left out: {0}"


def test_durations_and_sizes_read_well():
    assert [duration(s) for s in (0.4, 59.4, 65, 3725)] == ["0 s", "59 s", "1 min 05 s", "1 h 02 min"]
    assert [size(b) for b in (10, 429726, 2_500_000, 3e9)] == ["0.0 kB", "429.7 kB", "2.5 MB", "3.0 GB"]


def test_who_has_which_part_is_told_and_not_of_thousands():
    event = entry("parts_assigned", round=3, members=(12, 11))
    assert describe(event, TrainingState()) == "round 3: 2 parts of the data: VM 12 0, VM 11 1"
    many = entry("parts_assigned", round=3, members=tuple(range(5000)))
    assert describe(many, TrainingState()).endswith("VM 7 7 and 4992 more")


@pytest.mark.parametrize(("asked", "told"), [(0, "3 clients"), (3, "3 clients"), (2, "2 of 3 clients")])
def test_a_round_says_how_many_of_the_clients_are_asked(asked, told):
    event = entry("round_started", round=1, rounds=4, clients=3, asked=asked)
    assert describe(event, TrainingState()) == f"round 1 of 4 starts with {told}"
    assert reduce([event]).clients == (asked or 3)
