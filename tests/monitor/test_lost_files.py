"""Checkpoints that were set aside since are not shown as the newest, nor as where the final model is."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from oneflower.checkpoints import Checkpoint, CheckpointStore
from oneflower.cli.main import app
from oneflower.journal import Journal
from oneflower.monitor.state.following import Following

from ..making import event


@pytest.fixture
def state(tmp_path):
    """Return a state folder of a training that has finished after two rounds."""
    folder, journal = tmp_path / "checkpoints", Journal(tmp_path / "journal.jsonl")
    journal.append(event("training_started", rounds=2))
    with CheckpointStore(folder) as store:
        for number in (1, 2):
            made = Checkpoint(
                round=number,
                total_rounds=2,
                strategy="FedAvg",
                arrays={"w": np.zeros(2)},
                parameters={},
                app="a/b",
                seed=0,
            )
            store.save(made)
            journal.append(event("round_completed", round=number, rounds=2, seconds=1.0))
            file = str(folder / f"checkpoint_round_{number}.npz")
            journal.append(event("checkpoint_saved", round=number, file=file, size_bytes=100))
    journal.append(event("training_finished", round=2, rounds=2, path=file, sha256="ab"))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False).output


def test_after_a_rollback_the_status_names_what_is_there(state):
    assert "checkpoint     round 2," in run("status", state)
    assert "not there" not in run("status", state)
    run("checkpoints", "rollback", 1, state)
    screen = run("status", state)
    assert "checkpoint     round 1, checkpoint_round_1.npz" in screen
    assert "checkpoint_round_2.npz (it is not there any more)" in screen
    document = json.loads(run("status", "--json", state))
    assert document["checkpoint"]["newest"]["round"] == 1
    assert document["training"]["finish"]["path"] is None
    assert "It is not there any more" in run("report", state, "--output", "-")
    with Following(state / "journal.jsonl") as following, following.view() as view:
        assert view.saved.number == 1


def test_where_the_folder_is_not_on_this_machine_the_journal_is_believed(state):
    (state / "checkpoints").rename(state / "elsewhere")
    screen = run("status", state)
    assert "checkpoint     round 2," in screen
    assert "not there" not in screen
