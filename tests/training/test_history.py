"""Metrics between Flower's records and the checkpoints, and the best model that follows from them."""

import logging

import pytest
from flwr.common import MetricRecord

from oneflower.checkpoints import CheckpointReader, CheckpointStore, retention_of
from oneflower.journal import read_journal, reduce
from oneflower.training.history import metrics_since, new_result, restore

from ..federation import Federation, initial_arrays, numpy_app

# What each round's clients measure; the sixth round is the last.
FALLING = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
LAST_IS_BEST = (0.1, 0.9, 0.2, 0.3, 0.4, 0.95)


def measuring(accuracies):
    """Return an app whose clients measure these accuracies, and a loss that falls in every round."""

    def evaluation(number, arrays):
        return {"num-examples": 5, "eval_acc": accuracies[number - 1], "eval_loss": 1.0 / number}

    return numpy_app(evaluation=evaluation)


@pytest.mark.parametrize(("accuracies", "best"), [(FALLING, 1), (LAST_IS_BEST, 6)])
def test_the_best_of_the_clients_evaluation_is_kept_shown_and_told_alike(tmp_path, accuracies, best):
    """The evaluation of a round follows its checkpoint; the last round's counts as well."""
    folder = tmp_path / "c"
    federation = Federation(folder=folder, app=measuring(accuracies))
    federation.train(evaluate=None, num_server_rounds=6, checkpoint_keep=2)
    assert (folder / "checkpoint_best.npz").readlink().name == f"checkpoint_round_{best}.npz"
    assert (folder / "checkpoint_best.npz").exists()
    assert CheckpointReader(folder).rounds() == tuple(sorted({best, 5, 6}))
    assert reduce(read_journal(folder / "journal.jsonl")).best().round == best
    with CheckpointStore(folder, retention=retention_of(2)) as store:
        assert store.best().round == best
        assert store.best().metric.text == "evaluate eval_acc"
        assert set(store.latest().metrics["evaluate"]) == {str(number) for number in range(1, 7)}


def test_only_rounds_that_were_saved_can_be_the_best_model(tmp_path):
    folder = tmp_path / "c"
    federation = Federation(folder=folder, app=measuring(LAST_IS_BEST[:5]))
    federation.train(evaluate=None, num_server_rounds=5, checkpoint_interval=3)
    assert CheckpointReader(folder).rounds() == (3, 5)
    assert (folder / "checkpoint_best.npz").readlink().name == "checkpoint_round_5.npz"
    metrics = CheckpointReader(folder).latest().metrics
    assert [list(metrics[phase]) for phase in ("train", "evaluate")] == [list("12345"), list("12345")]


def test_a_longer_training_does_not_evaluate_again_what_was_noted(tmp_path):
    evaluated = []

    def evaluation(number, arrays):
        evaluated.append(number)
        return {"num-examples": 5, "eval_acc": 0.5}

    federation = Federation(folder=tmp_path / "c", clients=2, app=numpy_app(evaluation=evaluation))
    federation.train(num_server_rounds=2)
    result = federation.train(num_server_rounds=3)
    assert evaluated == [1, 1, 2, 2, 3, 3]
    assert sorted(result.evaluate_metrics_clientapp) == [1, 2, 3]


def test_only_what_is_new_is_handed_over():
    result = new_result(initial_arrays())
    for number in range(5):
        result.evaluate_metrics_serverapp[number] = MetricRecord({"b": 1.0, "a": number})
    assert metrics_since(result, {"central": 3}) == {
        "train": {},
        "evaluate": {},
        "central": {"4": {"a": 4, "b": 1.0}},
    }
    again = new_result(initial_arrays())
    restore(again, metrics_since(result, {}))
    assert dict(again.evaluate_metrics_serverapp) == dict(result.evaluate_metrics_serverapp)


def test_metrics_that_an_earlier_release_saved_and_could_not_load_are_left_out(caplog):
    """It saved a matrix, and every resume ended with a TypeError."""
    result = new_result(initial_arrays())
    bad = {"accuracy": 0.9, "confusion": [[5, 1], [0, 4]]}
    logging.getLogger("flwr").propagate = True
    with caplog.at_level(logging.WARNING, logger="flwr"):
        restore(result, {"central": {"1": bad, "2": bad}})
    assert dict(result.evaluate_metrics_serverapp[2]) == {"accuracy": 0.9}
    assert caplog.text.count("metric 'confusion'") == 1


def test_a_folder_of_schema_1_with_such_metrics_resumes(tmp_path):
    """The app's central evaluation returned a matrix; the training goes on without it."""
    import json

    from oneflower.checkpoints.manifest import SELF, render

    federation = Federation(folder=tmp_path / "c")
    federation.train(num_server_rounds=2)
    path = federation.folder / "checkpoint_round_2.json"
    content = {
        key: value for key, value in json.loads(path.read_text()).items() if key not in (SELF, "history")
    }
    content |= {
        "schema": 1,
        "best": None,
        "metrics": {"central": {"2": {"loss": 0.5, "confusion": [[5, 1], [0, 4]]}}},
    }
    path.write_bytes(render(content))
    (federation.folder / "checkpoint_history.jsonl").unlink()
    result = federation.train(num_server_rounds=3)
    assert sorted(result.evaluate_metrics_serverapp) == [2, 3]
    assert CheckpointReader(federation.folder).latest().round == 3
