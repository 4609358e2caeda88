"""With FL_CHECKPOINT_KEY a training resumes only from what it has signed itself."""

import json
import shutil

import pytest

from oneflower.checkpoints import MEMORY, CheckpointReader, CheckpointStore, Signer, sign_folder
from oneflower.errors import CheckpointError, ForeignError, SettingsError
from oneflower.journal import JOURNAL_VARIABLE

from ..federation import Federation
from ..making import events_in
from .test_training import Killed, digest, kill_in

KEY = "a3f1c9d27b604e85f1d2c3b4a5968778"


@pytest.fixture
def key(monkeypatch, tmp_path):
    """Set the key, and a journal on this machine's own disk."""
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("FL_CHECKPOINT_KEY", KEY)
    monkeypatch.setenv(JOURNAL_VARIABLE, str(own / "journal.jsonl"))
    return own


def training_of(root, number=4):
    return CheckpointReader(root, signer=Signer(key=KEY)).training(number)


def test_a_killed_training_resumes_to_the_bytes_of_one_without_a_key(tmp_path, key, monkeypatch):
    with pytest.raises(Killed):
        Federation(folder=tmp_path / "share", app=kill_in(3)).train()
    resumed = Federation(folder=tmp_path / "share").train()
    monkeypatch.delenv("FL_CHECKPOINT_KEY")
    assert digest(resumed) == digest(Federation(folder=tmp_path / "plain").train())
    assert training_of(tmp_path / "share", 2) == training_of(tmp_path / "share", 4) != ""
    assert KEY not in (key / MEMORY).read_text()


def test_a_folder_that_was_not_signed_is_refused_until_it_is_signed(tmp_path, key, monkeypatch):
    monkeypatch.delenv("FL_CHECKPOINT_KEY")
    share = tmp_path / "share"
    Federation(folder=share).train(num_server_rounds=2)
    monkeypatch.setenv("FL_CHECKPOINT_KEY", KEY)
    with pytest.raises(CheckpointError, match="oneflower checkpoints sign"):
        Federation(folder=share).train()
    assert CheckpointReader(share).rounds() == (1, 2)
    with CheckpointStore(share) as store:
        sign_folder(store, Signer(key=KEY))
    assert digest(Federation(folder=share).train()) == digest(Federation(folder=tmp_path / "other").train())


def test_a_signed_checkpoint_of_another_training_is_refused(tmp_path, key):
    """It has the same key, app, model and seed: only its identity tells it apart."""
    Federation(folder=tmp_path / "other").train()
    (key / MEMORY).unlink()
    Federation(folder=tmp_path / "share").train(num_server_rounds=2)
    for path in (tmp_path / "other").glob("checkpoint_round_4*"):
        shutil.copy(path, tmp_path / "share")
    with pytest.raises(CheckpointError, match="someone may have put it there"):
        Federation(folder=tmp_path / "share").train()


def test_a_training_that_does_not_resume_is_another_one(tmp_path, key):
    Federation(folder=tmp_path / "share").train()
    before = training_of(tmp_path / "share")
    Federation(folder=tmp_path / "share").train(resume="never")
    assert training_of(tmp_path / "share") not in ("", before)
    assert json.loads((key / MEMORY).read_text()) == {"training": training_of(tmp_path / "share")}


def test_the_failure_is_written_as_one_of_the_documented_kinds(tmp_path, key, monkeypatch):
    monkeypatch.delenv("FL_CHECKPOINT_KEY")
    Federation(folder=tmp_path / "share").train(num_server_rounds=2)
    monkeypatch.setenv("FL_CHECKPOINT_KEY", KEY)
    with pytest.raises(ForeignError) as raised:
        Federation(folder=tmp_path / "share").train()
    (failed,) = [each for each in events_in(key / "journal.jsonl") if each.tag == "training_failed"]
    assert (failed.error, raised.value.exit_code, raised.value.word) == ("ForeignError", 3, "UNSIGNED")
    assert f"oneflower checkpoints sign {tmp_path / 'share'}`" in failed.reason


def test_a_signed_checkpoint_without_a_key_is_resumed_with_a_warning(tmp_path, key, monkeypatch, caplog):
    Federation(folder=tmp_path / "share").train(num_server_rounds=2)
    monkeypatch.delenv("FL_CHECKPOINT_KEY")
    with caplog.at_level("WARNING"):
        Federation(folder=tmp_path / "share").train()
    assert "only FL_CHECKPOINT_KEY can check round=2" in caplog.text


def test_a_weak_key_is_refused(tmp_path, key, monkeypatch):
    monkeypatch.setenv("FL_CHECKPOINT_KEY", "short")
    with pytest.raises(SettingsError, match="at least 32 are required"):
        Federation(folder=tmp_path / "share").train()
