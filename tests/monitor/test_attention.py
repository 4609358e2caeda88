"""What needs the operator is said, and nothing else."""

from datetime import UTC, datetime, timedelta

from oneflower.monitor.history import fold
from oneflower.monitor.panels.attention import concerns
from oneflower.monitor.safety import Kept, Proof, Safety

BEGIN = datetime(2026, 1, 1, 10, tzinfo=UTC)


def said(*events, safety=None, after_s=1.0):
    begun = {"event": "training_started", "rounds": 5}
    view = fold({"time": BEGIN.isoformat(), **event} for event in (begun, *events))
    found = concerns(view, safety or Safety(), BEGIN + timedelta(seconds=after_s))
    return [(each.style, each.what) for each in found]


def kept(number, proof=Proof.VERIFIED):
    return Kept(number=number, size_bytes=1000, file="f", time=BEGIN, seconds=0.1, proof=proof, problem="p")


def test_a_training_that_goes_well_needs_nobody():
    assert said({"event": "round_started", "round": 1, "rounds": 5, "clients": 3}) == []


def test_silence_is_a_concern():
    assert said(after_s=121) == [("warn", "Nothing was heard for 2 min 01 s.")]


def test_a_long_round_is_no_silence():
    long = {"event": "round_completed", "round": 1, "rounds": 5, "seconds": 600.0}
    assert said(long, after_s=1000) == []


def test_a_finished_training_may_be_silent():
    assert said({"event": "training_finished", "round": 5}, after_s=10**6) == []


def test_missing_clients_are_a_concern():
    assert said({"event": "waiting_for_clients", "connected": 1, "needed": 3}) == [
        ("warn", "Only 1 of 3 clients are connected.")
    ]


def test_work_that_is_not_safe_is_grave_and_comes_first():
    found = said(
        {"event": "waiting_for_clients", "connected": 1, "needed": 3},
        {"event": "checkpoint_failed", "round": 1, "reason": "disk full"},
        safety=Safety(folder="/c", kept=(kept(1, Proof.DAMAGED), kept(2)), free_bytes=2000),
    )
    assert [what for style, what in found if style == "bad"] == [
        "The last checkpoint could not be written.",
        "The checkpoint of round 1 is damaged.",
        "Only 2.0 kB of disk are free.",
    ]
    assert found[-1][0] == "warn"


def test_a_checkpoint_that_worked_again_ends_the_concern():
    assert (
        said(
            {"event": "checkpoint_failed", "round": 1, "reason": "disk full"},
            {"event": "checkpoint_saved", "round": 2, "file": "/c/f", "bytes": 1},
        )
        == []
    )


def test_a_failed_training_says_why():
    assert said({"event": "training_failed", "reason": "no quorum"}) == [("bad", "The training has failed.")]


def test_a_training_without_checkpoints_is_warned_of():
    row = {"variable": "FL_CHECKPOINT_ENABLED", "value": "NO", "source": "context"}
    assert said({"event": "settings_used", "settings": [row], "environment": {}}) == [
        ("warn", "This training keeps no checkpoints.")
    ]
