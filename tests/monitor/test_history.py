"""The journal folded: what a training looks like now, after restarts and resumes too."""

import pytest

from oneflower.monitor.history import History, fold


def started(rounds=5, **fields):
    return {
        "event": "training_started",
        "round": 0,
        "rounds": rounds,
        "strategy": "FedAvg",
        "app": "a/b",
        **fields,
    }


def resumed(after, rounds=5):
    return {"event": "training_resumed", "round": after, "rounds": rounds, "strategy": "FedAvg", "app": "a/b"}


def completed(number, *, seconds=2.0, **metrics):
    return {
        "event": "round_completed",
        "time": f"2026-01-01T00:00:{number:02d}+00:00",
        "round": number,
        "rounds": 5,
        "valid": 3,
        "seconds": seconds,
        "central_metrics": metrics,
    }


def saved(number):
    return {
        "event": "checkpoint_saved",
        "round": number,
        "file": f"c{number}.npz",
        "bytes": 10,
        "sha256": "ab",
    }


def test_rounds_metrics_and_checkpoints_are_kept_by_round():
    history = fold([started(), completed(1, loss=0.5, accuracy=0.8), saved(1), completed(2, loss=0.25)])
    assert (history.done, history.total, history.strategy, history.app) == (2, 5, "FedAvg", "a/b")
    assert history.rounds[1].metrics == {"central loss": 0.5, "central accuracy": 0.8}
    assert history.headline(1) == {"loss": 0.5, "accuracy": 0.8}
    assert history.headline(2) == {"loss": 0.25}
    assert history.headline(9) == {}
    assert list(history.checkpoints) == [1]


def test_a_resume_forgets_the_rounds_that_are_trained_again():
    history = fold(
        [started(), completed(1, loss=9), completed(2, loss=9), saved(2), completed(3, loss=9), resumed(2)]
    )
    assert sorted(history.rounds) == [1, 2]
    assert history.resumed_after == [2]
    history.take(completed(3, loss=1))
    assert history.headline(3) == {"loss": 1}


def test_a_start_from_the_beginning_forgets_everything_before():
    left = {"event": "client_failed", "round": 1, "client": "7", "reason": "gone"}
    history = fold([started(), completed(1), saved(1), left, started(rounds=3)])
    assert (history.done, history.total) == (0, 3)
    assert not history.checkpoints
    assert not history.left_out


def test_the_most_telling_metric_comes_first():
    event = {
        **completed(1, accuracy=0.9),
        "evaluate_metrics": {"eval_acc": 0.8, "eval_loss": 0.3},
        "train_metrics": {"loss": 0.7},
    }
    history = fold([started(), event])
    assert history.headline(1) == {"loss": 0.3, "accuracy": 0.9}
    assert history.metric_names()[0] == "central accuracy"


def test_only_numbers_are_metrics():
    history = fold([started(), completed(1, loss=None, name="x", flag=True, vector=[1.0], f1=0.5)])
    assert history.rounds[1].metrics == {"central f1": 0.5}


def test_time_left_follows_the_last_rounds():
    history = fold([started()])
    assert history.left_s() is None
    history.take(completed(1, seconds=10))
    history.take(completed(2, seconds=20))
    assert history.left_s() == 45.0


def test_waiting_ends_when_the_round_starts():
    history = fold([started(), {"event": "waiting_for_clients", "connected": 1, "needed": 3}])
    assert history.waiting == "1 of 3 clients are connected"
    history.take({"event": "round_started", "round": 1, "rounds": 5, "clients": 3})
    assert history.waiting == ""
    history.take({"event": "reply_received", "round": 1, "phase": "train", "client": "1", "seconds": 1})
    history.take({"event": "reply_received", "round": 1, "phase": "evaluate", "client": "1", "seconds": 1})
    assert (history.replies, history.clients) == (1, 3)


def test_left_out_clients_failures_and_restarts_are_counted():
    history = fold(
        [
            started(),
            {"event": "client_quarantined", "round": 1, "client": "7", "reason": "nan"},
            {"event": "round_failed", "round": 1, "attempt": 1, "valid": 1, "needed": 2, "reason": "few"},
            {"event": "run_lost", "reason": "gone", "restarts": 1, "delay_s": 0},
            {"event": "training_failed", "reason": "no quorum"},
        ]
    )
    assert (history.left_out[0].client, history.left_out[0].reason) == ("7", "nan")
    assert (history.failed_rounds, history.restarts, history.failure) == (1, 1, "no quorum")


@pytest.mark.parametrize(
    "event",
    [
        {"event": "round_completed"},
        {"event": "round_completed", "round": "x"},
        {"event": "round_completed", "round": 1, "central_metrics": [1]},
        {"event": "round_completed", "round": None},
        {"event": "checkpoint_saved"},
        {"event": "waiting_for_clients"},
        {"event": "a thing of tomorrow", "time": "never"},
        {"event": "training_resumed", "rounds": "many"},
    ],
)
def test_a_line_that_is_not_understood_is_passed_over(event):
    history = History()
    history.take(event)
    assert history.done == 0


def test_without_an_accuracy_two_qualities_are_told_and_the_area_under_the_curve_is_the_first():
    scores = {"average_precision": 0.95, "loss": 0.1, "precision": 0.9, "roc_auc": 0.99, "threshold": 3.0}
    history = fold([started(), completed(1, **scores)])
    assert history.headline(1) == {"loss": 0.1, "roc_auc": 0.99, "average_precision": 0.95}
    assert history.best() == (1, "roc_auc", 0.99)
    assert fold([started(), completed(1, accuracy=0.5, roc_auc=0.9)]).headline(1) == {"accuracy": 0.5}
