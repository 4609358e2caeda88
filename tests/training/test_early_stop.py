"""A training that ends early: it says why, keeps its last round, and ends alike after any kill."""

from collections import Counter

import pytest
from flwr.common import MetricRecord

from oneflower.checkpoints import CheckpointReader
from oneflower.errors import SettingsError
from oneflower.flower.grid import RoundGrid
from oneflower.training.checkpoint_keeping import CheckpointKeeper

from ..federation import Federation, local_loss, local_update, numpy_app
from .test_training import Killed, digest, events

# Best in round 3; three rounds without improvement end with round 6.
ACCURACY = [0.1, 0.5, 0.6, 0.7, 0.69, 0.7, 0.65, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
RULE = {"num_server_rounds": 12, "checkpoint_interval": 4, "early_stop_rounds": 3}


def central(server_round, _arrays):
    return MetricRecord({"accuracy": ACCURACY[server_round]})


def on_clients(server_round, arrays):
    return {**local_loss(server_round, arrays), "eval_acc": ACCURACY[server_round]}


def finish_of(federation):
    return events(federation, "training_finished")[-1]


def test_it_ends_before_its_last_round_says_why_and_keeps_that_round(federation, tmp_path):
    expected = digest(Federation(folder=tmp_path / "other").train(num_server_rounds=6))
    federation.train(evaluate=central, **RULE)
    told = finish_of(federation)
    assert (told.round, told.rounds, told.stopped) == (6, 12, "no_improvement")
    assert "central accuracy was 0.7 after round 3" in told.because
    assert told.sha256 == expected
    assert CheckpointReader(federation.folder).verify(6).model.sha256 == expected


def test_a_metric_of_the_clients_decides_too(federation):
    federation.app = numpy_app(evaluation=on_clients)
    federation.train(evaluate=None, best_metric="eval_acc", **RULE)
    assert finish_of(federation).round == 6
    assert "evaluate eval_acc" in finish_of(federation).because


@pytest.mark.parametrize(
    ("metric", "target", "end"), [("accuracy", "0.65", 3), ("accuracy", "0.8", 7), ("-accuracy", "0.55", 1)]
)
def test_a_target_ends_it_when_it_is_reached(federation, metric, target, end):
    federation.train(evaluate=central, num_server_rounds=12, best_metric=metric, target_metric_value=target)
    assert (finish_of(federation).round, finish_of(federation).stopped) == (end, "target_reached")


@pytest.mark.parametrize("where", ["before the decision", "after it", "after the save"])
def test_a_kill_around_the_decision_changes_nothing(where, federation, monkeypatch, tmp_path):
    other = Federation(folder=tmp_path / "other", app=numpy_app(evaluation=on_clients))
    federation.app = numpy_app(evaluation=on_clients)
    rule = {"evaluate": None, "best_metric": "eval_acc", **RULE}
    expected = digest(other.train(**rule))

    def die(*_args, **_options):
        raise Killed

    with monkeypatch.context() as patched:
        if where == "before the decision":
            dying = {6: Killed}

            def evaluation(server_round, arrays):
                if server_round in dying:
                    raise Killed
                return on_clients(server_round, arrays)

            federation.app = numpy_app(evaluation=evaluation)
        elif where == "after it":
            patched.setattr(CheckpointKeeper, "finish", die)
        else:
            patched.setattr("oneflower.training.train._tell_finished", die)
        with pytest.raises(Killed):
            federation.train(**rule)
    federation.app = numpy_app(evaluation=on_clients)
    federation.train(**rule)
    assert finish_of(federation).sha256 == expected
    assert finish_of(federation).because == finish_of(other).because


def test_started_again_it_is_done_at_once(federation):
    federation.train(evaluate=central, **RULE)
    federation.train(evaluate=central, **RULE)
    first, second = events(federation, "training_finished")
    assert first == second


def test_a_longer_patience_trains_further(federation):
    federation.train(evaluate=central, **RULE)
    federation.train(evaluate=central, **{**RULE, "early_stop_rounds": 4})
    assert (finish_of(federation).round, finish_of(federation).stopped) == (11, "no_improvement")


def test_more_rounds_train_further_with_the_patience_anew(federation, tmp_path, monkeypatch):
    flat = {"evaluate": lambda _number, _arrays: MetricRecord({"accuracy": 0.5}), "early_stop_rounds": 3}
    federation.train(num_server_rounds=10, **flat)
    assert finish_of(federation).round == 4
    with monkeypatch.context() as patched:
        patched.setattr(CheckpointKeeper, "finish", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            federation.train(num_server_rounds=20, **flat)
    federation.train(num_server_rounds=20, **flat)  # killed on its way, it decides alike
    assert (finish_of(federation).round, finish_of(federation).stopped) == (7, "no_improvement")
    longer = digest(Federation(folder=tmp_path / "other").train(num_server_rounds=7))
    assert finish_of(federation).sha256 == longer


def test_without_checkpoints_it_ends_early_too(federation, tmp_path, monkeypatch):
    monkeypatch.setenv("ONEFLOWER_JOURNAL", str(tmp_path / "journal.jsonl"))
    result = federation.train(evaluate=central, **{**RULE, "checkpoint_enabled": False})
    assert max(result.train_metrics_clientapp) == 6


def test_with_nothing_that_measures_it_is_refused(federation):
    with pytest.raises(SettingsError, match="nothing says how good a model is"):
        federation.train(evaluate=None, min_evaluate_clients=0, **RULE)


def test_a_target_without_a_metric_is_refused(federation):
    with pytest.raises(SettingsError, match="FL_BEST_METRIC is empty"):
        federation.train(target_metric_value="0.5")


def test_a_metric_that_is_not_measured_is_said_once(federation):
    federation.train(evaluate=central, best_metric="eval_auc", early_stop_rounds=1)
    told = events(federation, "metric_missing")
    assert [event.round for event in told] == [1]
    assert "central accuracy" in told[0].reason
    assert finish_of(federation).stopped is None


@pytest.mark.parametrize(("metric", "told"), [("nometric", 1), ("accuracy", 0), ("", 0)])
def test_without_early_stopping_it_is_said_at_the_end(federation, metric, told):
    federation.train(evaluate=central, best_metric=metric)
    found = events(federation, "metric_missing")
    assert len(found) == told
    assert all(event.round == event.rounds for event in found)


def test_a_round_costs_the_same_whatever_came_before(federation, monkeypatch):
    """Early stopping looks at each round once."""
    looked = []
    from oneflower.training.stopping import Stopping

    take = Stopping.take
    monkeypatch.setattr(Stopping, "take", lambda self, n, m: (looked.append(n), take(self, n, m)))
    monkeypatch.setattr(RoundGrid, "pause", lambda *_: None)
    federation.train(num_server_rounds=8)
    assert looked == list(range(1, 9))


# --- one client among three lies about what it measured ------------------------------------------------


def liar(lie, rounds):
    """Return an evaluation in which the last of three clients says `lie` in these rounds."""
    calls = Counter()

    def evaluation(server_round, arrays):
        calls[server_round] += 1
        said = on_clients(server_round, arrays)
        lies = server_round in rounds and calls[server_round] == 3
        return {**said, **lie, "num-examples": 10_000_000} if lies else said

    return evaluation


@pytest.mark.parametrize(
    ("metric", "target", "lie"),
    [("-eval_loss", "1e-9", {"eval_loss": -1e9}), ("eval_acc", "0.99", {"eval_acc": 1e9})],
)
def test_one_client_cannot_say_that_the_target_is_reached(federation, metric, target, lie):
    """One reply with a loss of -1e9 ended the training after its first round."""
    federation.app = numpy_app(evaluation=liar(lie, {1, 2, 3}))
    rule = {"best_metric": metric, "target_metric_value": target, "num_server_rounds": 4}
    federation.train(evaluate=None, **rule)
    assert (finish_of(federation).round, finish_of(federation).stopped) == (4, None)


@pytest.mark.parametrize("value", [-1e9, 1e9])
def test_one_client_changes_neither_the_best_round_nor_the_end(federation, tmp_path, value):
    other = Federation(folder=tmp_path / "other", app=numpy_app(evaluation=on_clients))
    rule = {"evaluate": None, "best_metric": "eval_acc", **RULE}
    other.train(**rule)
    federation.app = numpy_app(evaluation=liar({"eval_acc": value}, {1, 2, 4, 5}))
    federation.train(**rule)
    assert finish_of(federation).because == finish_of(other).because
    assert finish_of(federation).sha256 == finish_of(other).sha256
    best = [CheckpointReader(each.folder).verify(6).content["best"] for each in (federation, other)]
    assert best[0] == best[1]


def test_a_metric_of_the_training_that_decides_is_a_median_too(federation):
    def update(message, context):
        arrays, metrics = local_update(message, context)
        bad = context.node_config["partition-id"] == 1
        return arrays, {**metrics, "train_acc": 1e9 if bad else 0.5}

    federation.app = numpy_app(update)
    rule = {"best_metric": "train_acc", "target_metric_value": "0.9", "num_server_rounds": 3}
    result = federation.train(evaluate=None, min_evaluate_clients=0, **rule)
    assert finish_of(federation).stopped is None
    assert [record["train_acc"] for record in result.train_metrics_clientapp.values()] == [0.5] * 3


def test_where_the_server_decides_the_clients_metrics_are_means(federation, caplog):
    result = federation.train(evaluate=central, num_server_rounds=1)
    assert result.train_metrics_clientapp[1]["train_loss"] == pytest.approx((11 + 2 * 12) / 33)
    assert "the median of the clients" not in caplog.text
    result = federation.train(evaluate=None, num_server_rounds=1, resume="never")
    assert result.train_metrics_clientapp[1]["train_loss"] == 1.0
    assert caplog.text.count("the median of the clients") == 1
