"""What needs the operator is said, and nothing else."""

from datetime import UTC, datetime, timedelta

from oneflower.journal import reduce
from oneflower.journal.events import SettingRow
from oneflower.monitor.html.panels.attention import concerns
from oneflower.monitor.state.safety import Kept, Proof, Safety

from ...making import entry, measured_rounds

BEGIN = datetime(2026, 1, 1, 10, tzinfo=UTC)


def said(*events, safety=None, after_s=1.0):
    begun = entry("training_started", rounds=5)
    view = reduce(each._replace(time=BEGIN) for each in (begun, *events))
    found = concerns(view, safety or Safety(), BEGIN + timedelta(seconds=after_s))
    return [(each.style, each.what) for each in found]


def kept(number, proof=Proof.VERIFIED):
    return Kept(number=number, size_bytes=1000, file="f", time=BEGIN, seconds=0.1, proof=proof, problem="p")


def test_a_training_that_goes_well_needs_nobody():
    assert said(entry("round_started", round=1, rounds=5, clients=3)) == []


def test_silence_is_a_concern():
    assert said(after_s=121) == [("warn", "No event for 2 min 01 s.")]


def test_a_long_round_is_no_silence():
    long = entry("round_completed", round=1, rounds=5, seconds=600.0)
    assert said(long, after_s=1000) == []


def test_a_finished_training_may_be_silent():
    assert said(entry("training_finished", round=5), after_s=10**6) == []


def test_missing_clients_are_a_concern():
    assert said(entry("waiting_for_clients", connected=1, needed=3)) == [
        ("warn", "Only 1 of 3 clients are connected.")
    ]


def test_work_that_is_not_safe_is_grave_and_comes_first():
    found = said(
        entry("waiting_for_clients", connected=1, needed=3),
        entry("checkpoint_failed", round=1, reason="disk full"),
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
            entry("checkpoint_failed", round=1, reason="disk full"),
            entry("checkpoint_saved", round=2, file="/c/f", size_bytes=1),
        )
        == []
    )


def test_a_failed_training_says_why():
    assert said(entry("training_failed", reason="no quorum")) == [("bad", "The training has failed.")]


def test_a_training_without_checkpoints_is_warned_of():
    row = SettingRow(variable="FL_CHECKPOINT_ENABLED", value="NO", source="context")
    assert said(entry("settings_used", settings=(row,), environment={})) == [
        ("warn", "This training keeps no checkpoints.")
    ]


def test_a_client_that_is_always_far_or_never_used_is_a_concern():
    distances = {"a": 1.0, "b": 1.0, "c": 1.0, "d": 9.0}
    far = ("warn", "1 client is far from the model in most of the last 10 rounds.")
    unused = ("warn", "1 client was not used by the rule in the last 10 rounds.")
    assert said(*measured_rounds(distances)) == [far]
    assert said(*measured_rounds(distances, rounds=10, selected=(1, 1, 0, 1))) == [far, unused]
