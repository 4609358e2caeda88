"""The best round's metric has its full name wherever another one is shown under the same word."""

from datetime import UTC, datetime

from oneflower.journal import reduce
from oneflower.monitor.export import short_document
from oneflower.monitor.html.comparison import results
from oneflower.monitor.html.page import render
from oneflower.monitor.state.safety import Safety
from oneflower.monitor.text.status import lines

from ..making import entry, metrics

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def training(best_metric, **origins):
    return reduce(
        [
            entry("training_started", rounds=3, best_metric=best_metric),
            entry("round_completed", round=1, rounds=3, seconds=1.0, metrics=metrics(**origins)),
        ]
    )


TWO = training("-eval_loss", central={"loss": 0.0445}, evaluate={"eval_loss": 0.0299})
ONE = training("-loss", central={"loss": 0.0445}, evaluate={"eval_loss": 0.0299})


def tiles(view):
    return render(view, Safety(), NOW, "1").sections["tiles"]


def test_the_status_does_not_call_two_metrics_loss():
    assert dict(lines(TWO, NOW))["result"] == "loss 0.0445 after round 1"
    assert dict(lines(TWO, NOW))["best"] == "evaluate eval_loss 0.0299 after round 1"
    assert dict(lines(ONE, NOW))["best"] == "loss 0.0445 after round 1"


def test_the_dashboard_says_the_best_of_each_under_its_name():
    assert "the best so far" not in tiles(TWO).split("Evaluate eval_loss")[0]
    assert "0.0299" in tiles(TWO).split("Evaluate eval_loss")[1]
    assert "eval_loss" not in tiles(ONE)
    assert "the best so far" in tiles(ONE)


def test_the_comparison_has_last_and_best_of_the_same_metric():
    (row,) = results({"a": TWO})
    assert (row.measure, row.last, row.best, row.loss) == ("evaluate eval_loss", 0.0299, 0.0299, 0.0445)


def test_the_json_has_the_full_name_beside_the_word():
    best = short_document(TWO, NOW)["training"]["best"]
    assert (best["metric"], best["measure"]) == ("loss", "evaluate eval_loss")
