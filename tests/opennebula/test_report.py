"""OneGate hears how the training stands: not too often, nothing is lost, and nothing waits for it."""

import math
import threading
import time

import pytest

from oneflower.codes import StopReason, SupervisorState
from oneflower.errors import SettingsError
from oneflower.journal import BrokenEvent, Entry, Journal, UnknownEvent, reduce
from oneflower.opennebula.appliance import report as reporting
from oneflower.opennebula.appliance.publisher import Publisher
from oneflower.opennebula.appliance.shown import shown
from oneflower.opennebula.onegate import OneGateError
from oneflower.opennebula.onegate.encoding import body, decode, encode

from ..making import entry, event, metrics

STARTED = entry("training_started", rounds=3)
COMPLETED = entry(
    "round_completed",
    round=1,
    rounds=3,
    valid=2,
    metrics=metrics(
        train={"train_loss": 0.9}, evaluate={"eval_loss": 0.5}, central={"accuracy": 0.8, "loss": 0.25}
    ),
)


def values_after(*entries):
    return shown(reduce(entries))


def test_a_cluster_without_a_training_waits():
    assert values_after() == {"FL_STATE": "waiting"}


def test_a_round_reports_its_number_and_the_most_telling_loss():
    assert values_after(STARTED, COMPLETED) == {
        "FL_STATE": "training",
        "FL_ROUND": "1",
        "FL_ROUNDS": "3",
        "FL_LOSS": "0.25",
        "FL_CLIENTS": "2",
    }


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            entry("waiting_for_clients", connected=1, needed=2),
            {"FL_STATE": "waiting", "FL_CLIENTS": "1"},
        ),
        (
            entry("training_resumed", round=4, rounds=9),
            {"FL_STATE": "training", "FL_ROUND": "4", "FL_CHECKPOINT_ROUND": "4", "FL_ROUNDS": "9"},
        ),
        (entry("round_started", clients=2), {"FL_STATE": "training", "FL_CLIENTS": "2"}),
        (entry("checkpoint_saved", round=2), {"FL_CHECKPOINT_ROUND": "2"}),
        (
            entry("training_saving", round=3, reason="disk full"),
            {"FL_STATE": "saving", "FL_ERROR": "the model of round 3 is not saved yet: disk full"},
        ),
        (
            entry("training_failed", reason="no quorum"),
            {"FL_STATE": "failed", "FL_ERROR": "no quorum"},
        ),
        (
            entry("checkpoint_failed", round=2, reason="disk full"),
            {"FL_ERROR": "the checkpoint of round 2 failed: disk full"},
        ),
    ],
)
def test_each_event_is_reported(event, expected):
    assert expected.items() <= values_after(STARTED, event).items()


def test_a_finish_reports_its_round_and_why_it_came_early():
    finished = entry(
        "training_finished", round=1, path="/x/checkpoint_round_1.npz", stopped=StopReason.TARGET_REACHED
    )
    values = values_after(STARTED, COMPLETED, entry("checkpoint_saved"), finished)
    assert (values["FL_STATE"], values["FL_ROUND"], values["FL_CHECKPOINT_ROUND"]) == ("finished", "1", "1")
    assert values["FL_STOPPED"] == "target_reached"
    assert "FL_CHECKPOINT_ROUND" not in values_after(STARTED, COMPLETED, entry("training_finished"))


def test_an_app_that_fails_without_a_supervisor_has_failed():
    """FL_STATE stayed at training for ever."""
    values = values_after(STARTED, COMPLETED, entry("app_failed", error="ValueError", reason="no column x"))
    assert values["FL_STATE"] == "failed"
    assert values["FL_ERROR"] == "the app raised ValueError: no column x"


def test_a_supervisor_that_gave_up_and_was_killed_before_it_said_so_has_failed():
    """FL_STATE stayed at training for ever."""
    given_up = entry("supervisor_state", state=SupervisorState.GIVEN_UP, reason="10 restarts in a row")
    values = values_after(entry("run_submitted"), STARTED, COMPLETED, entry("run_lost"), given_up)
    assert (values["FL_STATE"], values["FL_ERROR"]) == ("failed", "10 restarts in a row")


def test_a_supervised_app_that_failed_waits_for_its_next_run():
    values = values_after(entry("run_submitted", run=1), STARTED, entry("app_failed", run=1))
    assert values["FL_STATE"] == "waiting"
    assert "FL_ERROR" not in values


@pytest.mark.parametrize("broken", [BrokenEvent(line="{", why=""), UnknownEvent(kind="new", fields={})])
def test_an_event_that_makes_no_sense_is_left_alone(broken):
    assert values_after(STARTED, Entry(None, broken)) == values_after(STARTED)


def test_what_is_reported_can_be_sent():
    huge = entry("round_completed", metrics=metrics(central={"loss": 1e300}))
    failed = entry("training_failed", reason='a, [b] "c" \\\\ {"d": 1}\n')
    assert "FL_LOSS=1e+300" in body(values_after(STARTED, huge, failed))
    bad = entry("round_completed", metrics=metrics(central={"loss": math.nan}, train={"train_loss": 0.9}))
    assert values_after(STARTED, bad)["FL_LOSS"] == "0.9"


class Gate:
    """OneGate as a publisher sees it; `late` holds what was applied although its answer was lost."""

    def __init__(self):
        self.shown, self.published, self.erased, self.looks = {}, [], [], 0
        self.now, self.broken = 0.0, False

    def publish(self, values):
        if self.broken:
            raise OneGateError("away", passing=True)
        self.published.append(dict(values))
        self.shown |= {key: encode(key, value) for key, value in values.items()}

    def erase(self, keys):
        if self.broken:
            raise OneGateError("away", passing=True)
        self.erased += list(keys)
        for key in keys:
            del self.shown[key]

    def template(self):
        self.looks += 1
        if self.broken:
            raise OneGateError("away", passing=True)
        return dict(self.shown)


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def publisher(gate):
    return Publisher(gate, lambda: gate.now, every_s=10, compare_every_s=60)


def test_only_changes_are_published_and_not_too_often(publisher, gate):
    assert publisher.offer({"FL_STATE": "training", "FL_ROUND": "1"})
    gate.now = 3
    assert not publisher.offer({"FL_STATE": "training", "FL_ROUND": "2"})
    gate.now = 10
    assert publisher.offer({"FL_STATE": "training", "FL_ROUND": "3"})
    gate.now = 30
    assert not publisher.offer({"FL_STATE": "training", "FL_ROUND": "3"})
    assert gate.published == [{"FL_STATE": "training", "FL_ROUND": "1"}, {"FL_ROUND": "3"}]
    assert gate.looks == 1


@pytest.mark.parametrize("state", ["finished", "failed"])
def test_the_end_is_told_at_once(publisher, gate, state):
    publisher.offer({"FL_STATE": "training"})
    assert publisher.offer({"FL_STATE": state})


def test_an_end_that_cannot_be_told_is_not_told_every_second(publisher, gate):
    publisher.offer({"FL_STATE": "training"})
    gate.broken = True
    before = gate.looks
    for second in range(300):
        gate.now = float(second)
        publisher.offer({"FL_STATE": "finished"})
    assert gate.looks - before < 12


def test_an_empty_value_is_the_same_as_none(publisher, gate):
    publisher.offer({"FL_STATE": "training", "FL_ERROR": ""})
    assert gate.shown == {"FL_STATE": "training"}


def test_an_error_that_is_over_is_taken_away(publisher, gate):
    publisher.offer({"FL_STATE": "failed", "FL_ERROR": "x"})
    gate.now = 10
    publisher.offer({"FL_STATE": "training"})
    assert gate.erased == ["FL_ERROR"]


def test_what_could_not_be_told_is_told_later(publisher, gate):
    gate.broken = True
    assert not publisher.offer({"FL_STATE": "training", "FL_ROUND": "1"})
    gate.broken, gate.now = False, 10
    assert publisher.offer({"FL_STATE": "training", "FL_ROUND": "1"})
    assert gate.published == [{"FL_STATE": "training", "FL_ROUND": "1"}]


def test_a_call_that_was_applied_after_its_answer_was_lost_is_put_right(publisher, gate):
    """oned applied "waiting" although the publisher saw a timeout; then the state went back."""
    publisher.offer({"FL_STATE": "training", "FL_ROUND": "3"})
    gate.now, gate.broken = 10, True
    assert not publisher.offer({"FL_STATE": "waiting", "FL_ROUND": "3"})
    gate.broken, gate.shown["FL_STATE"] = False, "waiting"
    gate.now = 21
    assert publisher.offer({"FL_STATE": "training", "FL_ROUND": "3"})
    assert gate.shown["FL_STATE"] == "training"


def test_what_another_has_changed_is_put_right_within_a_minute(publisher, gate):
    """An erase of another key, or of another writer, rewrites everything and may lose or bring back keys."""
    values = {"FL_STATE": "training", "FL_CA_CERT": "PEM", "READY": "YES"}
    publisher.offer(values)
    gate.shown |= {"FL_STATE": "waiting", "FL_ERROR": "b2xk", "SERVICE_ID": "7"}
    del gate.shown["READY"]
    for second in range(10, 61, 10):
        gate.now = second
        publisher.offer(values)
    assert gate.shown == {key: encode(key, value) for key, value in values.items()} | {"SERVICE_ID": "7"}
    assert gate.looks == 2


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_journal_reaches_onegate(stage_of, onegate, layout, monkeypatch):
    monkeypatch.setattr(reporting, "POLL_S", 0.05)
    layout.make(checkpoints=False)
    stop = threading.Event()
    stage = stage_of("superlink", vm=10)
    thread = threading.Thread(target=reporting.report, args=(stage, stop))
    thread.start()
    template = onegate.state.vms[10]["template"]
    try:
        time.sleep(0.5)
        assert not template, "a stage speaks for the machine until it has succeeded"
        stage.record_published({"READY": "YES", "FL_ENDPOINT": "10.77.0.2:9092"})
        wait_for(lambda: template.get("FL_STATE") == "waiting")
        assert template["READY"] == "YES"
        journal = Journal(layout.journal)
        journal.append(event("training_started"))
        journal.append(event("training_failed", reason="gave up, after 10 [restarts]"))
        wait_for(lambda: template.get("FL_STATE") == "failed")
        assert decode("FL_ERROR", template["FL_ERROR"]).strip() == "gave up, after 10 [restarts]"
    finally:
        stop.set()
        thread.join()


def test_a_report_without_onegate_says_what_is_missing(stage_of):
    with pytest.raises(SettingsError, match="TOKEN=YES"):
        reporting.report(stage_of("superlink"), threading.Event())
