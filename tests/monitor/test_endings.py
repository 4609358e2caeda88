"""A last round that is not saved yet, and an end before the last round: the same words everywhere."""

from datetime import UTC, datetime

import pytest
from oneflower.monitor.final import NOT_KEPT
from oneflower.monitor.history import fold
from oneflower.monitor.view import Phase
from oneflower.opennebula.appliance.progress import Progress

from oneflower.monitor import panels
from oneflower.monitor.lines import WARNINGS, describe
from oneflower.monitor.panels.attention import concerns
from oneflower.monitor.report import render_report
from oneflower.monitor.safety import told
from oneflower.monitor.status import facts, lines
from oneflower.opennebula.onegate.encoding import body

TIME = "2026-01-01T00:00:00+00:00"
NOW = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
TRAINED = [
    {"event": "training_started", "time": TIME, "round": 0, "rounds": 9, "strategy": "FedAvg", "app": "a"},
    {"event": "round_started", "time": TIME, "round": 1, "rounds": 9, "clients": 2},
    {"event": "round_completed", "time": TIME, "round": 1, "rounds": 9, "valid": 2, "seconds": 1.0},
]
SAVING = {
    "event": "training_saving",
    "time": TIME,
    "round": 1,
    "rounds": 9,
    "attempt": 2,
    "tries": 10,
    "reason": "No space left on device",
}
FINISHED = {
    "event": "training_finished",
    "time": TIME,
    "round": 1,
    "rounds": 9,
    "sha256": "ab12",
    "path": "/c/checkpoint_round_1.npz",
    "stopped": "no_improvement",
    "because": "central accuracy was 0.5 after round 1 and has not improved",
}


def status(view):
    return "\n".join(f"{label} {text}" for label, text in lines(view, NOW))


def one_gate(events):
    progress = Progress()
    for event in events:
        progress.take(event)
    return progress.values()


def test_saving_is_a_state_with_its_reason_on_every_screen():
    view = fold([*TRAINED, SAVING])
    assert view.phase is Phase.SAVING
    assert facts(view, NOW)["phase"] == "saving"
    assert "No space left on device" in status(view)
    page = str(panels.headline(view)) + str(panels.doing(view))
    assert ">Saving<" in page
    assert "No space left on device" in page
    (concern,) = [each for each in concerns(view, told(view), NOW) if each.style == "bad"]
    assert concern.what == "The last round is not saved."
    assert "training_saving" in WARNINGS
    assert "NOT saved yet (try 2 of 10): No space left on device" in describe(SAVING, view)


def test_saving_is_told_to_onegate_and_over_when_it_is_saved():
    values = one_gate([*TRAINED, SAVING])
    assert values["FL_STATE"] == "saving"
    assert "No space left on device" in values["FL_ERROR"]
    assert body(values)
    after = one_gate([*TRAINED, SAVING, FINISHED])
    assert (after["FL_STATE"], after["FL_STOPPED"], after["FL_CHECKPOINT_ROUND"]) == (
        "finished",
        "no_improvement",
        "1",
    )
    assert "FL_ERROR" not in after
    assert body(after)


@pytest.mark.parametrize("later", [FINISHED, {**TRAINED[0], "event": "training_resumed", "round": 0}])
def test_saving_ends_with_what_comes_after(later):
    view = fold([*TRAINED, SAVING, {**later}])
    assert view.saving == ""
    assert view.phase is not Phase.SAVING


def test_an_early_end_says_why_on_every_screen():
    view = fold([*TRAINED, FINISHED])
    assert facts(view, NOW)["final"] == {
        "round": 1,
        "path": "/c/checkpoint_round_1.npz",
        "sha256": "ab12",
        "stopped": "no_improvement",
        "because": FINISHED["because"],
    }
    for text in (
        status(view),
        str(panels.headline(view)),
        render_report(view),
        describe(FINISHED, view),
    ):
        assert "central accuracy was 0.5 after round 1" in text


def test_a_model_that_was_not_kept_is_said_not_to_be():
    event = {**FINISHED, "path": None, "stopped": None, "because": None}
    view = fold([*TRAINED, event])
    assert NOT_KEPT in describe(event, view)
    assert NOT_KEPT in status(view)
    assert NOT_KEPT in render_report(view)


def test_changed_settings_are_a_warning_with_each_change():
    event = {"event": "settings_changed", "round": 2, "changes": ["seed was 1, is 2"]}
    assert describe(event, fold([])) == "settings changed since round 2 was saved: seed was 1, is 2"
    assert "settings_changed" in WARNINGS
