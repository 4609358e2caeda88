"""A last round that is not saved yet, and an end before the last round: the same words everywhere."""

from datetime import UTC, datetime

import pytest

from oneflower.codes import LeftOutCode, Phase, StopReason
from oneflower.journal import reduce
from oneflower.journal.events import ResourcesShort, SettingsChanged, TrainingSaving, TrainingWentBack
from oneflower.monitor.export import short_document
from oneflower.monitor.html.headline import headline
from oneflower.monitor.html.panels.attention import concerns
from oneflower.monitor.html.panels.now import doing
from oneflower.monitor.html.report import render_report
from oneflower.monitor.state.safety import from_journal
from oneflower.monitor.text.lines import WARNINGS, describe
from oneflower.monitor.text.status import lines
from oneflower.monitor.text.values import NOT_KEPT
from oneflower.opennebula.appliance.shown import shown
from oneflower.opennebula.onegate.encoding import body

from ..making import entry

TIME = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
TRAINED = [
    entry("training_started", at=TIME, round=0, rounds=9, strategy="FedAvg", app="a"),
    entry("round_started", at=TIME, round=1, rounds=9, clients=2),
    entry("round_completed", at=TIME, round=1, rounds=9, valid=2, seconds=1.0),
]
SAVING = entry(
    "training_saving", at=TIME, round=1, rounds=9, attempt=2, tries=10, reason="No space left on device"
)
FINISHED = entry(
    "training_finished",
    at=TIME,
    round=1,
    rounds=9,
    sha256="ab12",
    path="/c/checkpoint_round_1.npz",
    stopped=StopReason.NO_IMPROVEMENT,
    because="central accuracy was 0.5 after round 1 and has not improved",
)


def status(view):
    return "\n".join(f"{label} {text}" for label, text in lines(view, NOW))


def one_gate(events):
    return shown(reduce(events))


def test_saving_is_a_state_with_its_reason_on_every_screen():
    view = reduce([*TRAINED, SAVING])
    assert view.phase is Phase.SAVING
    assert short_document(view, NOW)["training"]["phase"] == "saving"
    assert "No space left on device" in status(view)
    page = str(headline(view)) + str(doing(view))
    assert ">Saving<" in page
    assert "No space left on device" in page
    (concern,) = [each for each in concerns(view, from_journal(view), NOW) if each.style == "bad"]
    assert concern.what == "The last round is not saved."
    assert TrainingSaving in WARNINGS
    assert "NOT saved yet (attempt 2 of 10): No space left on device" in describe(SAVING, view)


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


@pytest.mark.parametrize("later", [FINISHED, entry("training_resumed", at=TIME, round=0, rounds=9)])
def test_saving_ends_with_what_comes_after(later):
    view = reduce([*TRAINED, SAVING, later])
    assert view.saving is None
    assert view.phase is not Phase.SAVING


def test_an_early_end_says_why_on_every_screen():
    view = reduce([*TRAINED, FINISHED])
    assert short_document(view, NOW)["training"]["finish"] == {
        "round": 1,
        "path": "/c/checkpoint_round_1.npz",
        "sha256": "ab12",
        "stopped": "no_improvement",
        "because": FINISHED.event.because,
    }
    for text in (
        status(view),
        str(headline(view)),
        render_report(view),
        describe(FINISHED, view),
    ):
        assert "central accuracy was 0.5 after round 1" in text


def test_a_model_that_was_not_kept_is_said_not_to_be():
    finished = entry("training_finished", at=TIME, round=9, rounds=9, sha256="ab12", path=None)
    view = reduce([*TRAINED, finished])
    assert NOT_KEPT in describe(finished, view)
    assert NOT_KEPT in status(view)
    assert NOT_KEPT in render_report(view)


def test_changed_settings_are_a_warning_with_each_change():
    changed = entry("settings_changed", round=2, changes=("seed was 1, is 2",))
    assert describe(changed, reduce([])) == "settings changed since round 2 was saved: seed was 1, is 2"
    assert SettingsChanged in WARNINGS


def test_a_server_that_is_too_small_is_said_everywhere_until_the_training_starts_again():
    reason = "model 4.0 GB, 10 clients: about 13.2 GB of memory (ServerApp 13.2 GB); free: 7.8 GB."
    short = entry("resources_short", at=TIME, round=0, rounds=9, reason=reason)
    view = reduce([*TRAINED, short])
    assert describe(short, view) == f"the training needs more than this machine has: {reason}"
    assert reason in status(view)
    (concern,) = concerns(view, from_journal(view), TIME)
    assert (concern.style, concern.what, concern.advice) == (
        "warn",
        "The training needs more memory or disk than there is.",
        reason,
    )
    assert ResourcesShort in WARNINGS
    assert short_document(view, NOW)["resources_short"]["reason"] == reason
    assert [moment.entry for moment in view.moments].count(short) == 1
    resumed = entry("training_resumed", at=TIME, round=1, rounds=9)
    assert reason not in status(reduce([*TRAINED, short, resumed]))


def test_a_training_that_went_back_says_so_everywhere_and_shows_the_rounds_that_count():
    went = entry("training_went_back", at=TIME, round=1, to=0, rounds=9, reason="0 valid updates, 3 needed")
    view = reduce([*TRAINED, went])
    assert view.done == 0
    line = describe(went, view)
    assert "went back from round 1 to round 0" in line
    assert "0 valid updates, 3 needed" in line
    assert "once, from round 1 to round 0: 0 valid updates, 3 needed" in status(view)
    assert [each.what for each in concerns(view, from_journal(view), TIME)] == [
        "The training went back from round 1 to 0."
    ]
    assert TrainingWentBack in WARNINGS
    assert short_document(view, NOW)["went_back"]["to"] == 0


def test_a_client_whose_update_was_bounded_is_named_with_the_reason():
    reason = "the change of its weights is 3e+39 times as large as the median of the round"
    said = {"at": TIME, "client": "b", "code": LeftOutCode.CHANGE, "reason": reason}
    bounded = [entry("client_bounded", **said) for _ in range(2)]
    view = reduce([*TRAINED, *bounded])
    assert describe(bounded[0], view) == f"round 1: client b bounded: {reason}"
    assert "b in 2 rounds" in status(view)
    wrong = [each.what for each in concerns(view, from_journal(view), TIME)]
    assert wrong == ["1 client's update was bounded."]
    assert short_document(view, NOW)["counts"]["bounded"] == 2
    assert [moment.entry for moment in view.moments].count(bounded[0]) == 1
