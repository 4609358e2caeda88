"""One answer to which metric is the quality, which way is better, and which round is the best."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.quality import (
    BestSoFar,
    Measure,
    Origin,
    Wanted,
    best_of,
    flat,
    label,
    measure_named,
    wanted_or_automatic,
)

AUTOMATIC = Wanted.parse("")
values = st.floats(width=16) | st.integers(-3, 3).map(float)


def named(text):
    """Return the measure that people call this."""
    return None if text is None else measure_named(text)


names = st.sampled_from(
    ["central accuracy", "central loss", "evaluate eval_acc", "evaluate eval_loss", "train train_loss"]
).map(named)
histories = st.dictionaries(st.integers(1, 20), st.dictionaries(names, values))


@pytest.mark.parametrize(
    ("measured", "chosen"),
    [
        ({"central accuracy", "central loss", "evaluate eval_acc"}, "central accuracy"),
        ({"central roc_auc", "evaluate eval_acc"}, "central roc_auc"),
        ({"central f1", "central accuracy"}, "central accuracy"),
        ({"central loss", "evaluate eval_acc"}, "evaluate eval_acc"),
        ({"evaluate eval_loss", "train train_acc"}, "train train_acc"),
        ({"train train_loss", "evaluate eval_loss"}, "evaluate eval_loss"),
        ({"evaluate examples"}, None),
        (set(), None),
    ],
)
def test_the_automatic_quality_is_the_most_telling_accuracy_else_the_most_telling_loss(measured, chosen):
    assert AUTOMATIC.choose(map(named, measured)) == named(chosen)


@pytest.mark.parametrize(
    ("text", "chosen", "higher"),
    [
        ("eval_acc", "evaluate eval_acc", True),
        ("-eval_loss", "evaluate eval_loss", False),
        ("-central loss", "central loss", False),
        ("evaluate loss_ratio", None, None),
        ("+evaluate loss", "evaluate loss", True),
        ("-loss", "central loss", False),
        ("absent", None, True),
    ],
)
def test_the_operator_names_the_metric_and_which_way_is_better(text, chosen, higher):
    measured = ["evaluate eval_acc", "evaluate eval_loss", "evaluate loss", "central loss", "train loss"]
    if higher is None:
        with pytest.raises(ValueError, match="a loss is better when it is lower"):
            Wanted.parse(text)
        return
    wanted = Wanted.parse(text)
    assert (wanted.choose(map(named, measured)), wanted.higher) == (named(chosen), higher)
    assert Wanted.parse(wanted.text) == wanted


@pytest.mark.parametrize(
    ("text", "says"), [("-", "a metric's name after '-'"), ("eval_loss", "Write -eval_loss")]
)
def test_a_wish_that_cannot_be_meant_is_refused_with_what_to_write(text, says):
    with pytest.raises(ValueError, match=says):
        Wanted.parse(text)
    assert wanted_or_automatic(text) == wanted_or_automatic(None) == AUTOMATIC


@pytest.mark.parametrize(
    ("text", "measured", "decides"),
    [
        ("", {"accuracy", "loss"}, True),
        ("", {"loss"}, False),  # a client's accuracy would be chosen
        ("", {"examples"}, False),
        ("", set(), False),
        ("-loss", {"loss"}, True),
        ("-central loss", {"loss"}, True),
        ("-evaluate loss", {"loss"}, False),
        ("eval_acc", {"accuracy", "loss"}, False),
    ],
)
def test_what_the_server_measures_decides_where_no_metric_of_clients_comes_first(text, measured, decides):
    assert Wanted.parse(text).decided_centrally(measured) == decides


def test_not_a_number_and_infinity_are_never_best():
    rounds = {
        1: {named("central accuracy"): math.nan},
        2: {named("central accuracy"): math.inf},
        3: {named("central accuracy"): 0.1},
    }
    assert best_of(rounds).round == 3
    assert best_of({1: {named("central accuracy"): math.nan}}) is None


def test_of_equals_the_first_stays_the_best():
    assert best_of({2: {named("central loss"): 0.5}, 4: {named("central loss"): 0.5}}).round == 2


def test_an_improvement_smaller_than_delta_does_not_count_but_adds_up():
    best = BestSoFar(AUTOMATIC, delta=0.1)
    for number, accuracy in enumerate((0.50, 0.58, 0.62, 0.70, 0.71), start=1):
        best.take(number, {named("central accuracy"): accuracy})
    assert (best.best().round, best.best().value) == (3, 0.62)


def test_what_is_measured_after_a_round_can_make_it_the_best():
    best = BestSoFar()
    for number, accuracy in ((1, 0.5), (2, 0.9)):
        best.take(number, {named("train train_loss"): 1.0})
        best.take(number, {named("evaluate eval_acc"): accuracy})
    assert (best.best().round, best.best().metric) == (2, named("evaluate eval_acc"))


def test_lists_text_and_booleans_are_no_quality():
    assert flat(
        {
            "central": {
                "per_class_acc": [1.0],
                "acc_name": "x",
                "accurate": True,
                "acc2": 10**400,
                "accuracy": 1,
            }
        }
    ) == {named("central accuracy"): 1.0}


@given(histories, st.sampled_from(["", "eval_acc", "-eval_loss"]))
def test_one_round_after_another_finds_what_all_together_find(rounds, text):
    """And it is the best by hand: no finite value is better, none before is as good."""
    found = best_of(rounds, Wanted.parse(text))
    best = BestSoFar(Wanted.parse(text))
    for number in sorted(rounds):
        best.take(number, rounds[number])
    assert best.best() == found
    if found is not None:
        sign = 1 if found.higher else -1
        scores = {
            n: sign * m[found.metric]
            for n, m in rounds.items()
            if math.isfinite(m.get(found.metric, math.nan))
        }
        assert found.round == min(n for n, score in scores.items() if score == max(scores.values()))


@pytest.mark.parametrize(
    ("name", "called"),
    [("eval_loss", "loss"), ("Accuracy", "accuracy"), ("roc_auc", "roc_auc"), ("examples", "examples")],
)
def test_a_metric_is_called_by_the_word_of_its_row(name, called):
    assert label(Measure(Origin.TRAIN, name)) == called
