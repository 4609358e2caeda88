"""Which numbers of a round are shown first: its loss, and how good it is."""

from oneflower.journal import reduce
from oneflower.monitor.text.lines import headline_of
from oneflower.quality import Measure, Origin

from ...making import entry, metrics


def state_of(**measured):
    return reduce(
        [entry("training_started", rounds=5), entry("round_completed", round=1, metrics=metrics(**measured))]
    )


def test_the_loss_and_the_quality_are_shown_and_none_of_a_round_that_is_not_there():
    state = state_of(central={"loss": 0.5, "accuracy": 0.8})
    assert headline_of(state, 1) == {"loss": 0.5, "accuracy": 0.8}
    assert headline_of(state, 9) == {}


def test_the_most_telling_metric_comes_first():
    state = state_of(
        central={"accuracy": 0.9}, evaluate={"eval_acc": 0.8, "eval_loss": 0.3}, train={"loss": 0.7}
    )
    assert headline_of(state, 1) == {"loss": 0.3, "accuracy": 0.9}
    assert state.measures()[0] == Measure(Origin.CENTRAL, "accuracy")


def test_without_an_accuracy_two_qualities_are_shown_and_the_area_under_the_curve_is_the_first():
    scores = {"average_precision": 0.95, "loss": 0.1, "precision": 0.9, "roc_auc": 0.99, "threshold": 3.0}
    state = state_of(central=scores)
    assert headline_of(state, 1) == {"loss": 0.1, "roc_auc": 0.99, "average_precision": 0.95}
    assert (state.best().round, state.best().metric.name, state.best().value) == (1, "roc_auc", 0.99)
    assert headline_of(state_of(central={"accuracy": 0.5, "roc_auc": 0.9}), 1) == {"accuracy": 0.5}
