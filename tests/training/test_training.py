"""The round loop over the real store: numbers, quorum, resume, and what it writes down."""

import json
from collections import Counter

import numpy as np
import pytest
from flwr.common import Array, ArrayRecord, MetricRecord, RecordDict

from oneflower.aggregation import SPECS
from oneflower.checkpoints import CheckpointReader, model_digest
from oneflower.codes import LeftOutCode
from oneflower.errors import AppError, CheckpointError, StateError, TrainingError
from oneflower.flower.grid import RoundGrid
from oneflower.flower.records import array_views
from oneflower.journal import JOURNAL_VARIABLE
from oneflower.lab.localgrid import LocalGrid
from oneflower.settings import missing_keys

from ..federation import Federation, initial_arrays, local_update, numpy_app
from ..making import events_in, measured

STRATEGIES = {
    spec.name: (spec.example_clients, {p.key: p.of(spec.example) for p in spec.parameters}) for spec in SPECS
}


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the training may catch it."""


def events(federation, name=None):
    tags = () if name is None else (name,)
    return events_in(federation.folder / "journal.jsonl", *tags)


def digest(result):
    return model_digest(array_views(result.arrays))


def history(result):
    return json.dumps(
        [
            {number: dict(record) for number, record in series.items()}
            for series in (
                result.train_metrics_clientapp,
                result.evaluate_metrics_clientapp,
                result.evaluate_metrics_serverapp,
            )
        ]
    )


def federation_of(strategy, folder):
    clients, parameters = STRATEGIES[strategy]
    return Federation(folder=folder, clients=clients, settings={"strategy": strategy, **parameters})


def kill_in(server_round, kind="train", after=1):
    """Return an app whose `after`-th client of a round dies as a killed process does."""
    calls = Counter()

    def update(message, context):
        number = message.content["config"]["server-round"]
        calls[number] += 1
        if number == server_round and calls[number] > after:
            raise Killed
        return local_update(message, context)

    return numpy_app(update)


def newest_state(folder):
    checkpoint = CheckpointReader(folder).latest()
    return model_digest(checkpoint.state) if checkpoint.state else None


# --- rounds ---------------------------------------------------------------------------------------


def test_rounds_are_counted_from_one_and_all_metrics_are_kept(federation):
    result = federation.train()
    assert sorted(result.train_metrics_clientapp) == [1, 2, 3, 4]
    assert sorted(result.evaluate_metrics_clientapp) == [1, 2, 3, 4]
    assert sorted(result.evaluate_metrics_serverapp) == [0, 1, 2, 3, 4]


def test_integers_and_zero_dimensional_arrays_survive(federation):
    """BatchNorm's counter is a 0-d int64 that Flower's own rules turn into a float or crash on."""
    counter = federation.train().arrays["bn.num_batches_tracked"].numpy()
    assert counter.dtype == np.int64
    assert counter.shape == ()
    assert counter == 4


def test_the_result_hangs_on_no_node_id(federation, tmp_path):
    """Flower's node ids are random at every registration."""
    other = Federation(folder=tmp_path / "other")
    ids = [987654321987654321, 5, 77777]
    grid = LocalGrid(other.app, clients=3, run_config=other.run_config(), node_ids=ids)
    assert digest(federation.train()) == digest(other.train(grid=grid))


def test_two_trainings_with_one_seed_are_equal_and_with_two_are_not(federation, tmp_path):
    again, other = Federation(folder=tmp_path / "again"), Federation(folder=tmp_path / "other")
    first = digest(federation.train())
    assert digest(again.train()) == first
    assert digest(other.train(seed=4)) != first


def test_fedprox_with_mu_zero_is_fedavg_and_with_mu_one_is_not(tmp_path):
    digests = [
        digest(Federation(folder=tmp_path / name).train(strategy=strategy, proximal_mu=mu))
        for name, strategy, mu in [("a", "FedAvg", 1.0), ("b", "FedProx", 0.0), ("c", "FedProx", 1.0)]
    ]
    assert digests[0] == digests[1] != digests[2]


def test_fedadam_tells_the_clients_their_learning_rate(federation):
    """Flower never sends eta_l."""
    seen = set()

    def update(message, context):
        seen.add(message.content["config"]["lr"])
        return local_update(message, context)

    federation.app = numpy_app(update)
    federation.train(strategy="FedAdam", client_lr=0.25)
    assert seen == {0.25}


# --- quorum ---------------------------------------------------------------------------------------


def test_a_client_that_fails_is_named_and_the_round_goes_on(federation):
    def update(message, context):
        if context.node_config["partition-id"] == 2:
            raise RuntimeError("no data here")
        return local_update(message, context)

    federation.app = numpy_app(update)
    federation.train(min_fit_clients=2)
    failures = events(federation, "client_failed")
    assert [event.round for event in failures] == [1, 2, 3, 4]
    assert "no data here" in failures[0].reason
    assert [event.valid for event in events(federation, "round_completed")] == [2] * 4


def test_a_poisoned_update_is_quarantined_and_the_rest_is_the_model(federation, tmp_path):
    def update(message, context):
        arrays, metrics = local_update(message, context)
        if context.node_config["partition-id"] == 2:
            arrays["weight"] = Array(np.full((6, 4), np.nan, np.float32))
        return arrays, metrics

    federation.app = numpy_app(update)
    result = federation.train(min_fit_clients=2)
    assert np.isfinite(result.arrays["weight"].numpy()).all()
    found = {(event.client, event.code) for event in events(federation, "client_quarantined")}
    assert found == {("1002", LeftOutCode.NOT_FINITE)}


def test_arrays_that_a_client_adds_to_its_evaluation_do_not_end_the_training(federation):
    """Nobody asked for them: of a reply to an evaluation only the metrics are read."""

    def evaluation(_server_round, _arrays):
        broken = Array(dtype="float32", shape=(3,), stype="numpy.ndarray", data=b"no array")
        metrics = MetricRecord({"num-examples": 5, "eval_loss": 0.5})
        return RecordDict({"metrics": metrics, "arrays": ArrayRecord({"w": broken})})

    federation.app = numpy_app(evaluation=evaluation)
    result = federation.train(num_server_rounds=1)
    assert dict(result.evaluate_metrics_clientapp[1]) == {"eval_loss": 0.5}


def test_a_round_below_its_quorum_is_tried_again_with_the_model_unchanged(federation, tmp_path, monkeypatch):
    tries = Counter()

    def update(message, context):
        number, partition = message.content["config"]["server-round"], context.node_config["partition-id"]
        tries[number, partition] += 1
        if number == 2 and partition == 0 and tries[number, partition] <= 2:
            raise RuntimeError("just now not")
        return local_update(message, context)

    federation.app = numpy_app(update)
    pauses = []
    monkeypatch.setattr(RoundGrid, "pause", lambda _grid, seconds: pauses.append(seconds))
    result = federation.train()
    undisturbed = Federation(folder=tmp_path / "undisturbed").train()
    assert digest(result) == digest(undisturbed)
    failed = events(federation, "round_failed")
    assert [(event.round, event.attempt, event.valid) for event in failed] == [(2, 1, 2), (2, 2, 2)]
    assert pauses == [1.0, 2.0]


def test_after_its_retries_the_training_fails_and_says_why(federation, monkeypatch):
    pauses = []
    monkeypatch.setattr(RoundGrid, "pause", lambda _grid, seconds: pauses.append(seconds))

    def update(message, context):
        raise RuntimeError(f"never, says {context.node_config['partition-id']}")

    federation.app = numpy_app(update)
    with pytest.raises(TrainingError, match="round 1 missed its quorum 3 times") as caught:
        federation.train(round_retries=2)
    assert "FL_MIN_FIT_CLIENTS (now 3)" in str(caught.value)
    assert [event.tries_left for event in events(federation, "round_failed")] == [2, 1, 0]
    assert pauses == [1.0, 2.0]
    assert events(federation)[-1].tag == "training_failed"


def test_a_robust_rule_counts_its_own_bound_as_the_quorum(federation):
    """Krum keeps its promise from 2f+3 updates on, whatever FL_MIN_FIT_CLIENTS says."""
    federation.clients = 5
    federation.train(strategy="Krum", num_malicious=1, min_fit_clients=2)

    def update(message, context):
        if context.node_config["partition-id"] == 0:
            raise RuntimeError("away")
        return local_update(message, context)

    federation.app = numpy_app(update)
    with pytest.raises(TrainingError, match="4 valid updates, 5 needed"):
        federation.train(strategy="Krum", num_malicious=1, min_fit_clients=2, resume="never", round_retries=0)


@pytest.mark.parametrize(("strategy", "clients"), [("Krum", 5), ("Bulyan", 7)])
def test_a_client_that_sends_nan_cannot_stall_a_robust_rule_at_its_bound(federation, strategy, clients):
    """It is one of the malicious clients that the rule expects, so the rest is enough."""

    def update(message, context):
        arrays, metrics = local_update(message, context)
        if context.node_config["partition-id"] == 0:
            arrays["bias"] = Array(np.full(4, np.nan, np.float32))
        return arrays, metrics

    federation.clients, federation.app = clients, numpy_app(update)
    federation.train(strategy=strategy, num_malicious=1)
    assert [event.valid for event in events(federation, "round_completed")] == [clients - 1] * 4
    assert not events(federation, "round_failed")


def test_a_failed_round_says_how_many_updates_it_needed_beside_those_quarantined(federation):
    """Krum with f=1 needs 5 of 5; where one was quarantined it needs the bound of f=0, which is 3."""

    def update(message, context):
        partition = context.node_config["partition-id"]
        if partition > 1:
            raise RuntimeError("away")
        arrays, metrics = local_update(message, context)
        if partition == 0:
            arrays["bias"] = Array(np.full(4, np.nan, np.float32))
        return arrays, metrics

    federation.clients, federation.app = 5, numpy_app(update)
    with pytest.raises(TrainingError, match="1 valid update, 3 needed"):
        federation.train(strategy="Krum", num_malicious=1, min_fit_clients=2, round_retries=0)
    (failed,) = events(federation, "round_failed")
    assert (failed.valid, failed.needed) == (1, 3)
    assert failed.reason == "1 valid update, 3 needed"


def test_waiting_for_clients_ends_at_the_round_timeout(federation):
    with pytest.raises(TrainingError, match="3 clients connected, 4 needed"):
        federation.train(min_available_clients=4, round_timeout=1, round_retries=0)
    assert events(federation, "round_failed")[0].needed == 4
    waiting = events(federation, "waiting_for_clients")
    assert waiting[0].connected == 3
    assert waiting[0].needed == 4


# --- checkpoints and resume -----------------------------------------------------------------------


def test_a_checkpoint_is_written_at_every_interval_and_at_the_last_round(federation):
    federation.train(num_server_rounds=5, checkpoint_interval=2, checkpoint_keep=0)
    assert CheckpointReader(federation.folder).rounds() == (2, 4, 5)
    assert [event.round for event in events(federation, "checkpoint_saved")] == [2, 4, 5]


def test_without_checkpoints_nothing_is_written(federation):
    federation.train(checkpoint_enabled=False)
    assert not federation.folder.exists()


def test_the_journal_can_lie_elsewhere(federation, tmp_path, monkeypatch):
    monkeypatch.setenv(JOURNAL_VARIABLE, str(tmp_path / "events.jsonl"))
    federation.train(checkpoint_enabled=False)
    finished = events_in(tmp_path / "events.jsonl")[-1]
    assert finished.tag == "training_finished"
    assert len(finished.sha256) == 64


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("dies_in", [1, 2, 3, 4])
def test_a_killed_training_ends_as_if_nothing_had_happened(strategy, dies_in, tmp_path):
    """Final arrays, optimizer state and the whole metrics history are bit-identical, for every strategy."""
    whole = federation_of(strategy, tmp_path / "whole")
    expected = whole.train()
    killed = federation_of(strategy, tmp_path / "killed")
    killed.app = kill_in(dies_in)
    with pytest.raises(Killed):
        killed.train()
    killed.app = numpy_app()
    resumed = killed.train()
    assert digest(resumed) == digest(expected)
    assert history(resumed) == history(expected)
    assert newest_state(killed.folder) == newest_state(whole.folder)


@pytest.mark.parametrize("dies_in", [2, 4])
def test_a_round_killed_after_its_checkpoint_is_told_once_all_the_same(federation, dies_in, tmp_path):
    """Killed in its evaluation, of the last round too, it stands in the journal as the resume measured it."""
    expected = Federation(folder=tmp_path / "whole").train()

    def die(server_round, _arrays):
        if server_round == dies_in:
            raise Killed
        return {"num-examples": 10, "eval_loss": 0.0}

    federation.app = numpy_app(evaluation=die)
    with pytest.raises(Killed):
        federation.train()
    assert [event.round for event in events(federation, "round_completed")] == list(range(1, dies_in))
    federation.app = numpy_app()
    assert digest(federation.train()) == digest(expected)
    told = events(federation, "round_completed")
    assert [event.round for event in told] == [1, 2, 3, 4]
    assert told[dies_in - 1].valid == 3
    measured_on_clients = measured(told[dies_in - 1], "evaluate")
    assert measured_on_clients == dict(expected.evaluate_metrics_clientapp[dies_in])
    federation.train()
    assert len(events(federation, "round_completed")) == 4


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_training_stopped_after_each_round_ends_as_if_never_stopped(strategy, tmp_path):
    whole = federation_of(strategy, tmp_path / "whole")
    expected = whole.train()
    stopped = federation_of(strategy, tmp_path / "stopped")
    for rounds in (1, 2, 3, 4):
        result = stopped.train(num_server_rounds=rounds)
    assert digest(result) == digest(expected)
    assert history(result) == history(expected)
    assert newest_state(stopped.folder) == newest_state(whole.folder)


def test_a_resume_between_two_checkpoints_repeats_the_rounds_between(federation, tmp_path):
    expected = Federation(folder=tmp_path / "whole").train(num_server_rounds=5)
    federation.app = kill_in(5)
    with pytest.raises(Killed):
        federation.train(num_server_rounds=5, checkpoint_interval=2)
    federation.app = numpy_app()
    assert digest(federation.train(num_server_rounds=5, checkpoint_interval=2)) == digest(expected)
    assert events(federation, "training_resumed")[0].round == 4


def test_a_complete_training_ends_at_once(federation):
    first = federation.train()

    def update(message, context):
        raise AssertionError("nothing is left to train")

    federation.app = numpy_app(update)
    again = federation.train()
    assert digest(again) == digest(first)
    assert events(federation)[-1].tag == "training_finished"
    assert events(federation)[-1].sha256 == digest(first)


def test_more_rounds_go_on_from_the_last(federation, tmp_path):
    federation.train(num_server_rounds=2)
    expected = Federation(folder=tmp_path / "whole").train(num_server_rounds=4)
    assert digest(federation.train(num_server_rounds=4)) == digest(expected)


def test_another_strategy_takes_the_weights_and_starts_its_optimizer_afresh(federation, caplog):
    federation.train(strategy="FedAdam", num_server_rounds=2)
    federation.train(strategy="FedAvg", num_server_rounds=3)
    assert "was made by FedAdam, this training runs FedAvg" in caplog.text
    assert newest_state(federation.folder) is None


def test_another_model_is_refused_with_the_differences(federation):
    federation.train(num_server_rounds=2)
    other = initial_arrays()
    del other["bias"]
    other["weight"] = Array(np.zeros((2, 2), np.float32))
    with pytest.raises(CheckpointError, match="bias") as caught:
        federation.train(arrays=other, num_server_rounds=3)
    assert "shape [2, 2]" in str(caught.value)
    assert events(federation)[-1].tag == "training_failed"


def test_resume_never_starts_at_round_one_and_deletes_nothing(federation):
    federation.train()
    kept = {path.name for path in federation.folder.iterdir()}
    federation.train(resume="never", num_server_rounds=1)
    assert events(federation)[-1].rounds == 1
    set_aside = {path.name for path in federation.folder.iterdir() if "superseded" in path.name}
    assert len(set_aside) >= len([name for name in kept if name.endswith(".json") and "round" in name])


def test_a_folder_that_cannot_be_written_stops_the_training_before_a_round_is_spent(tmp_path):
    (tmp_path / "file").write_text("in the way")
    federation = Federation(folder=tmp_path / "file" / "checkpoints")
    with pytest.raises(StateError):
        federation.train()


def test_the_training_goes_on_when_a_later_checkpoint_cannot_be_written(federation, tmp_path, monkeypatch):
    """The journal and the log carry the error; the model still trains to the end."""
    from oneflower.checkpoints import CheckpointStore

    real = CheckpointStore.save

    def full(store, checkpoint):
        if checkpoint.round == 2:
            raise StateError("no space left")
        return real(store, checkpoint)

    monkeypatch.setattr(CheckpointStore, "save", full)
    federation.train()
    assert [(e.round, e.reason) for e in events(federation, "checkpoint_failed")] == [(2, "no space left")]
    assert CheckpointReader(federation.folder).rounds()[-1] == 4


def test_extra_config_reaches_the_clients(federation):
    seen = {}

    def update(message, context):
        seen.update(message.content["config"])
        return local_update(message, context)

    from flwr.common import Context, RecordDict

    from oneflower.training.train import train

    run_config = federation.run_config()
    grid = LocalGrid(numpy_app(update), clients=3, run_config=run_config)
    context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=run_config)
    train(grid, context, initial_arrays(), train_config={"batch-size": 16})
    assert seen["batch-size"] == 16
    assert seen["seed"] == 3
    assert seen["server-round"] == 4


def test_initial_arrays_are_left_alone(federation):
    arrays = initial_arrays()
    before = model_digest(array_views(arrays))
    federation.train(arrays=ArrayRecord(dict(arrays)))
    assert model_digest(array_views(arrays)) == before


def test_an_initial_model_of_text_is_the_apps_fault_and_names_the_array(federation):
    with pytest.raises(AppError, match=r"the app's initial model: array '0': .*it holds text"):
        federation.train(arrays=ArrayRecord([np.array(["a", "b"])]))


def test_an_app_that_flower_packed_trains_with_defaults_and_the_log_lists_them(federation, caplog):
    """`flwr run` adds no keys of oneflower's: what an operator set in FL_* variables is not there."""
    federation.train()
    (warning,) = [each.getMessage() for each in caplog.records if "run-config keys" in each.getMessage()]
    assert "strategy=app" in warning
    assert "early-stop-rounds=0" in warning
    assert "num-server-rounds" not in warning
    caplog.clear()
    federation.train(
        **{key.replace("-", "_"): value for key, value in missing_keys(federation.run_config()).items()}
    )
    assert "run-config keys" not in caplog.text
