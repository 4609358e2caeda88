"""A training is finished when the store has proven its last round, and not before."""

import errno
import hashlib
from pathlib import Path

import pytest
from flwr.common import MetricRecord

from oneflower.checkpoints import CheckpointReader, CheckpointStore
from oneflower.errors import AppError, CheckpointError, SettingsError
from oneflower.flower.grid import RoundGrid
from oneflower.journal import read_journal, reduce

from ..federation import Federation, numpy_app
from ..making import events_in
from .test_training import Killed, digest, events, federation_of, kill_in


def full_from(server_round, *, times, monkeypatch):
    """Let saving fail for want of space from a round on, so many times."""
    save, left = CheckpointStore.save, [times]

    def fail(self, checkpoint):
        if checkpoint.round >= server_round and left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(self, checkpoint)

    monkeypatch.setattr(CheckpointStore, "save", fail)


def finish_of(federation):
    return events(federation, "training_finished")[-1]


def test_round_path_and_digest_are_those_of_the_file_on_the_disk(federation):
    result = federation.train()
    told = finish_of(federation)
    assert told.round == 4
    assert Path(told.path).name == "checkpoint_round_4.npz"
    assert hashlib.sha256(Path(told.path).read_bytes()).hexdigest() == told.sha256 == digest(result)


def test_a_last_save_that_fails_is_tried_again_with_the_model_in_memory(federation, tmp_path, monkeypatch):
    expected = digest(Federation(folder=tmp_path / "other").train())
    pauses = []
    monkeypatch.setattr(RoundGrid, "pause", lambda _grid, seconds: pauses.append(seconds))
    full_from(3, times=4, monkeypatch=monkeypatch)  # round 3, round 4, and round 4 twice more
    federation.train()
    assert finish_of(federation).sha256 == expected
    saving = events(federation, "training_saving")
    assert [(event.round, event.attempt) for event in saving] == [(4, 1), (4, 2), (4, 3)]
    assert all("No space left" in event.reason for event in saving)
    assert pauses == [1.0, 2.0, 4.0]
    names = [event.tag for event in events(federation)]
    assert names.index("training_finished") > max(i for i, n in enumerate(names) if n == "checkpoint_saved")


def test_a_last_save_that_never_works_fails_the_training_and_the_next_run_resumes(
    federation, tmp_path, monkeypatch
):
    expected = digest(Federation(folder=tmp_path / "other").train())
    with monkeypatch.context() as patched:
        full_from(3, times=99, monkeypatch=patched)
        with pytest.raises(CheckpointError, match="round 4, the last one, could not be saved") as caught:
            federation.train(round_retries=2)
    assert "No space left on device" in str(caught.value)
    assert caught.value.exit_code == 3
    assert events(federation)[-1].tag == "training_failed"
    assert events(federation)[-1].error == "CheckpointError"
    assert not events(federation, "training_finished")
    federation.train()
    assert events(federation, "training_resumed")[-1].round == 2
    assert finish_of(federation).sha256 == expected


def test_a_model_that_does_not_read_back_is_saved_again(federation, monkeypatch):
    """A disk that says it has written and has not: seen only by who reads."""
    verify, spoilt = CheckpointStore.verify, []

    def spoil_once(self, number):
        if number == 4 and not spoilt:
            spoilt.append(number)
            path = self.root / "checkpoint_round_4.npz"
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(bytes(data))
        return verify(self, number)

    monkeypatch.setattr(CheckpointStore, "verify", spoil_once)
    result = federation.train()
    assert finish_of(federation).sha256 == digest(result)
    assert CheckpointReader(federation.folder).verify(4).model.sha256 == digest(result)


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "I/O error"), RuntimeError("can't start new thread"), MemoryError()]
)
def test_no_error_of_a_save_in_between_ends_the_training(federation, tmp_path, monkeypatch, error):
    """And the round after it is saved, though it would not be due."""
    expected = digest(Federation(folder=tmp_path / "other").train(num_server_rounds=6, checkpoint_interval=2))
    submit = "oneflower.checkpoints.background.BackgroundWriter.submit"
    from oneflower.checkpoints.background import BackgroundWriter

    real, failed = BackgroundWriter.submit, []

    def fail_once(self, checkpoint):
        if checkpoint.round == 2 and not failed:
            failed.append(2)
            raise error
        return real(self, checkpoint)

    monkeypatch.setattr(submit, fail_once)
    result = federation.train(num_server_rounds=6, checkpoint_interval=2, checkpoint_keep=0)
    assert digest(result) == expected
    assert [event.round for event in events(federation, "checkpoint_saved")] == [3, 4, 6]
    assert [event.round for event in events(federation, "checkpoint_failed")] == [2]


def test_without_checkpoints_it_says_that_the_model_is_not_kept(federation, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("ONEFLOWER_JOURNAL", str(tmp_path / "journal.jsonl"))
    result = federation.train(checkpoint_enabled=False)
    told = events_in(tmp_path / "journal.jsonl")[-1]
    assert (told.path, told.sha256) == (None, digest(result))
    assert "the model was not kept: FL_CHECKPOINT_ENABLED is NO" in caplog.text


# --- another number of rounds, other settings -----------------------------------------------------


def test_fewer_rounds_than_the_newest_checkpoint_are_refused(federation):
    federation.train()
    with pytest.raises(SettingsError, match="FL_NUM_ROUNDS is 2, and the newest checkpoint in") as caught:
        federation.train(num_server_rounds=2)
    assert "round 4" in str(caught.value)
    assert "oneflower checkpoints rollback" in str(caught.value)
    assert [event.round for event in events(federation, "training_finished")] == [4]


def test_after_a_rollback_fewer_rounds_are_the_model_of_that_round(federation, tmp_path):
    expected = digest(Federation(folder=tmp_path / "other").train(num_server_rounds=2))
    federation.train(checkpoint_keep=0)
    with CheckpointStore(federation.folder) as store:
        store.rollback(2)
    federation.train(num_server_rounds=2)
    assert (finish_of(federation).round, finish_of(federation).sha256) == (2, expected)


@pytest.mark.parametrize(
    ("strategy", "setting", "value", "said"),
    [
        ("FedProx", "proximal_mu", 1.0, "proximal-mu was 0.1, is 1.0"),
        ("FedAdam", "server_lr", 0.01, "server-lr was 0.1, is 0.01"),
        ("FedAvg", "local_epochs", 2, "local-epochs was 1, is 2"),
    ],
)
def test_a_resume_with_other_settings_says_so(strategy, setting, value, said, tmp_path):
    federation = federation_of(strategy, tmp_path / "checkpoints")
    federation.settings = {"local-epochs": 1, "server-lr": 0.1, **federation.settings}
    app, federation.app = federation.app, kill_in(3)
    with pytest.raises(Killed):
        federation.train()
    federation.app = app
    federation.train(**{setting: value})
    changed = events(federation, "settings_changed")
    assert [event.round for event in changed] == [2]
    assert said in changed[0].changes


def test_a_folder_that_was_moved_knows_its_settings(federation, tmp_path):
    """Nothing beside the checkpoints is needed for it: the manifest has them."""
    federation.settings = {"local-epochs": 1}
    federation.train(num_server_rounds=2)
    federation.folder = federation.folder.rename(tmp_path / "elsewhere")
    (federation.folder / "journal.jsonl").unlink()
    federation.train(local_epochs=2)
    assert events(federation, "settings_changed")[0].changes == ("local-epochs was 1, is 2",)


def test_another_number_of_clients_is_said(federation, monkeypatch):
    monkeypatch.setenv("ONEFLOWER_CLIENTS", "3")
    federation.train(num_server_rounds=2)
    monkeypatch.setenv("ONEFLOWER_CLIENTS", "4")
    federation.train()
    assert events(federation, "settings_changed")[0].changes == ("clients was 3, is 4",)


@pytest.mark.parametrize("setting", [{"round_timeout": 99}, {"checkpoint_keep": 0}, {"best_metric": "acc"}])
def test_how_it_is_run_and_when_it_ends_are_no_other_settings(federation, setting):
    federation.train(num_server_rounds=2)
    federation.train(**setting)
    assert not events(federation, "settings_changed")


def test_a_complete_training_with_other_settings_is_refused(federation):
    federation.train()
    with pytest.raises(
        SettingsError, match="has finished round 4, with other settings: local-epochs was not set"
    ):
        federation.train(local_epochs=9)


def test_a_checkpoint_of_an_earlier_release_is_compared_by_its_parameters(tmp_path, monkeypatch):
    from oneflower.training.checkpoint_keeping import CheckpointKeeper

    federation = federation_of("FedProx", tmp_path / "checkpoints")
    real = CheckpointKeeper._checkpoint

    def without_notes(self, *args):
        import dataclasses

        return dataclasses.replace(real(self, *args), notes={})

    with monkeypatch.context() as patched:
        patched.setattr(CheckpointKeeper, "_checkpoint", without_notes)
        federation.train(num_server_rounds=2, proximal_mu=1.0)
    federation.train(proximal_mu=1.0)
    assert not events(federation, "settings_changed")
    federation.train(num_server_rounds=6, proximal_mu=0.5)
    assert "proximal-mu was 1.0, is 0.5" in events(federation, "settings_changed")[0].changes


# --- what enters a checkpoint ---------------------------------------------------------------------


def test_numpy_numbers_and_a_plain_dict_are_metrics(federation):
    import numpy as np

    result = federation.train(evaluate=lambda _round, _arrays: {"loss": np.float32(0.5), "per_class": (1, 2)})
    assert dict(result.evaluate_metrics_serverapp[0]) == {"loss": 0.5, "per_class": [1, 2]}
    assert isinstance(result.evaluate_metrics_serverapp[0], MetricRecord)
    federation.train(evaluate=lambda _round, _arrays: {"loss": 0.5}, num_server_rounds=5)
    assert events(federation, "training_resumed")


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ({"loss": 0.5, "confusion": [[5, 1], [0, 4]]}, "metric 'confusion'"),
        ((0.5, {"accuracy": 0.9}), "instead of \\(loss, metrics\\)"),
        ({"note": "fine"}, "metric 'note'"),
    ],
)
def test_what_is_no_metric_is_refused_in_round_0_by_its_name(federation, returned, said):
    with pytest.raises(AppError, match=said) as caught:
        federation.train(evaluate=lambda _round, _arrays: returned)
    assert "round 0" in str(caught.value)
    assert not events(federation, "round_started")


# --- the best round -------------------------------------------------------------------------------


def falling(server_round, arrays):
    return {"num-examples": 10, "eval_acc": 1 / server_round, "eval_loss": float(server_round)}


def rising(server_round, arrays):
    return {"num-examples": 10, "eval_acc": 1 - 1 / server_round, "eval_loss": 1.0}


@pytest.mark.parametrize(
    ("evaluation", "settings", "best"),
    [
        (falling, {}, 1),
        (rising, {}, 4),
        (falling, {"best_metric": "-eval_acc"}, 4),
        (falling, {"best_metric": "+eval_loss"}, 4),
    ],
)
def test_the_best_by_the_clients_evaluation_is_kept_and_told_alike(federation, evaluation, settings, best):
    """The evaluation of the last round counts too, though its checkpoint was written before."""
    federation.app = numpy_app(evaluation=evaluation)
    federation.train(evaluate=None, checkpoint_keep=2, **settings)
    link = federation.folder / "checkpoint_best.npz"
    assert link.readlink().name == f"checkpoint_round_{best}.npz"
    assert best in CheckpointReader(federation.folder).rounds()
    assert reduce(read_journal(federation.folder / "journal.jsonl")).best().round == best
