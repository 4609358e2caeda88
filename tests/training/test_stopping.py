"""When a training ends early: a fold of the history, the same however often it was interrupted."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.codes import StopReason
from oneflower.quality import Wanted
from oneflower.training.stopping import Stopping, StopRule


def rule(metric="", **options):
    return StopRule(wanted=Wanted.parse(metric), **options)


def ends_after(rule_, values, name="accuracy", origin="central"):
    """Return the round after which the training ends and the decision, (None, None) where it does not."""
    stopping = Stopping(rule_)
    for number, value in enumerate(values, start=1):
        stopping.take(number, {origin: {name: value}})
        if stop := stopping.stop():
            return number, stop
    return None, None


def test_it_ends_after_so_many_rounds_without_improvement():
    number, stop = ends_after(rule(patience=2), [0.5, 0.6, 0.6, 0.59, 0.9])
    assert (number, stop.reason) == (4, StopReason.NO_IMPROVEMENT)
    assert "central accuracy was 0.6 after round 2" in stop.because
    assert "FL_EARLY_STOP_ROUNDS=2" in stop.because


def test_a_small_improvement_is_none_and_many_small_ones_add_up():
    values = [0.5, 0.54, 0.58, 0.62, 0.66]
    assert ends_after(rule(patience=2, delta=0.05), values) == (None, None)
    assert ends_after(rule(patience=2, delta=0.2), values)[0] == 3


def test_without_patience_or_target_it_never_ends():
    assert ends_after(rule(), [0.5] * 50) == (None, None)


@pytest.mark.parametrize(
    ("metric", "name", "values", "target", "end"),
    [
        ("accuracy", "accuracy", [0.5, 0.9, 0.95], 0.9, 2),
        ("-loss", "loss", [2.0, 1.0, 0.5], 0.7, 3),
        ("-loss", "loss", [2.0, 1.0, 0.8], 0.7, None),
        ("accuracy", "accuracy", [0.5, math.nan, 0.8], 0.9, None),
    ],
)
def test_a_target_is_reached_the_way_the_metric_goes(metric, name, values, target, end):
    number, stop = ends_after(rule(metric, target=target), values, name)
    assert number == end
    assert end is None or stop.reason is StopReason.TARGET_REACHED


def test_a_loss_that_is_nan_for_ever_ends_the_training():
    assert ends_after(rule("-loss", patience=3), [1.0] + [math.nan] * 9, "loss")[0] == 4


def test_a_round_that_was_not_measured_does_not_count():
    stopping = Stopping(rule(patience=2))
    for number, metrics in enumerate([{"accuracy": 0.5}, {}, {}, {"accuracy": 0.4}, {}], start=1):
        stopping.take(number, {"evaluate": metrics})
        assert stopping.stop() is None
    stopping.take(6, {"evaluate": {"accuracy": 0.4}})
    assert stopping.stop()


def test_more_rounds_give_the_patience_anew():
    stopping = Stopping(rule(patience=2))
    for number in (1, 2, 3):
        stopping.take(number, {"central": {"accuracy": 0.5}})
    assert stopping.stop()
    stopping.restart()
    assert stopping.stop() is None
    stopping.take(4, {"central": {"accuracy": 0.5}})
    assert stopping.stop() is None
    stopping.take(5, {"central": {"accuracy": 0.5}})
    assert stopping.stop()


def test_a_metric_that_nobody_measures_is_missing():
    stopping = Stopping(rule("eval_acc", patience=2))
    stopping.take(1, {"central": {"accuracy": 0.5}})
    assert stopping.missing() == "central accuracy"
    stopping.take(2, {"evaluate": {"eval_acc": 0.5}})
    assert stopping.missing() is None


@given(
    values=st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30),
    patience=st.integers(1, 5),
    delta=st.floats(0, 1),
)
def test_the_decision_is_that_of_the_history_alone(values, patience, delta):
    """A resume folds the same history from the start, and must decide as the training that went through."""
    stopping = Stopping(rule(patience=patience, delta=delta))
    for number, value in enumerate(values, start=1):
        stopping.take(number, {"central": {"accuracy": value}})
        again = Stopping(rule(patience=patience, delta=delta))
        for earlier, known in enumerate(values[:number], start=1):
            again.take(earlier, {"central": {"accuracy": known}})
        assert again.stop() == stopping.stop()
