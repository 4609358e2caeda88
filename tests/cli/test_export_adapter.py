"""`oneflower export-adapter` and `oneflower models`: their output and their errors."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from oneflower.checkpoints import Checkpoint, CheckpointStore
from oneflower.cli.main import app
from oneflower.errors import AppError, CheckpointError

NAME = "base_model.model.layers.0.q_proj.lora_{}.default.weight"
VERSIONS = {
    "base-model": "tiny",
    "base-model-sha256": "0" * 64,
    "lora-rank": "2",
    "lora-alpha": "4",
    "lora-targets": "q_proj,v_proj",
}


@pytest.fixture
def save(tmp_path):
    def save(number, versions):
        arrays = {NAME.format("A"): np.full((2, 3), number, np.float32), NAME.format("B"): np.ones((3, 2))}
        with CheckpointStore(tmp_path / "checkpoints") as store:
            store.save(
                Checkpoint(
                    round=number,
                    total_rounds=9,
                    arrays=arrays,
                    strategy="FedAvg",
                    parameters={},
                    app="oneflower/llm-fine-tuning",
                    seed=1,
                    versions=versions,
                )
            )

    return save


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_newest_round_is_exported_for_peft(save, tmp_path):
    for number in (1, 2):
        save(number, VERSIONS)
    done = run(
        "export-adapter", tmp_path / "out", "--path", tmp_path / "checkpoints", "--base-model", "/models/b"
    )
    assert done.exit_code == 0, done.output
    assert "adapter of round 2 on tiny" in done.output
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["peft_type"]) == (2, 4, "LORA")
    assert config["target_modules"] == ["q_proj", "v_proj"]
    assert config["base_model_name_or_path"] == "/models/b"
    weights = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert set(weights) == {
        "base_model.model.layers.0.q_proj.lora_A.weight",
        NAME.format("B").replace(".default", ""),
    }
    assert weights["base_model.model.layers.0.q_proj.lora_A.weight"].tolist() == [[2.0] * 3] * 2


def test_a_round_can_be_chosen(save, tmp_path):
    for number in (1, 2):
        save(number, VERSIONS)
    done = run("export-adapter", tmp_path / "out", "--path", tmp_path / "checkpoints", "--round", 1)
    assert "adapter of round 1" in done.output


def test_a_folder_without_checkpoints_and_one_without_adapters_are_refused(save, tmp_path):
    nothing = run("export-adapter", tmp_path / "out", "--path", tmp_path / "empty")
    assert isinstance(nothing.exception, CheckpointError)
    save(1, {})
    other = run("export-adapter", tmp_path / "out", "--path", tmp_path / "checkpoints")
    assert isinstance(other.exception, AppError)
    assert not (tmp_path / "out").exists()


def test_models_fetch_prints_the_folder_of_the_model(tmp_path, monkeypatch):
    folder = tmp_path / "models" / "smollm2-135m"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    monkeypatch.setenv("ONEFLOWER_CACHE", str(tmp_path))
    assert str(folder) in run("models", "fetch", "smollm2-135m").stdout
    assert run("models", "fetch", "other").exit_code == 2
