"""Where a base model is found, and what tells two of them apart."""

import os

import pytest

from oneflower.errors import AppError
from oneflower.language_models import base_model_folder, cache_folder, fingerprint, is_model


def make(folder, weights=b"weights"):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


@pytest.fixture
def environ(tmp_path):
    return {"ONEFLOWER_CACHE": str(tmp_path / "cache")}


def test_the_cache_follows_its_variable_then_the_users_cache():
    assert str(cache_folder({"ONEFLOWER_CACHE": "/a", "XDG_CACHE_HOME": "/b"})) == "/a"
    assert str(cache_folder({"XDG_CACHE_HOME": "/b"})) == "/b/oneflower"


def test_a_folder_is_the_model_or_holds_the_only_one(tmp_path, environ):
    model = make(tmp_path / "models" / "one")
    assert base_model_folder(model, environ) == model
    assert base_model_folder(tmp_path / "models", environ) == model


def test_the_fetched_model_is_taken_where_nothing_is_mounted(tmp_path, environ):
    usual = tmp_path / "empty"
    with pytest.raises(AppError, match="oneflower models fetch"):
        base_model_folder(usual, environ, usual=usual)
    fetched = make(tmp_path / "cache" / "models" / "smollm2-135m")
    assert base_model_folder(usual, environ, usual=usual) == fetched


def test_a_folder_that_was_named_and_is_not_there_is_a_mistake(tmp_path, environ):
    """A typing error in FL_BASE_MODEL must not train another model than the one that was meant."""
    make(tmp_path / "cache" / "models" / "smollm2-135m")
    with pytest.raises(AppError, match="name it with FL_BASE_MODEL"):
        base_model_folder(tmp_path / "typo", environ, usual=tmp_path / "models")


def test_what_is_mounted_is_never_passed_over_in_silence(tmp_path, environ):
    """A mounted folder without a model, or with two, is a mistake: the fetched one would hide it."""
    make(tmp_path / "cache" / "models" / "smollm2-135m")
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "model.bin").write_bytes(b"")
    with pytest.raises(AppError, match="holds 0 base models"):
        base_model_folder(tmp_path / "wrong", environ)
    for name in "ab":
        make(tmp_path / "two" / name)
    with pytest.raises(AppError, match="holds 2 base models"):
        base_model_folder(tmp_path / "two", environ)


def test_a_model_needs_a_config_and_safetensors(tmp_path):
    assert is_model(make(tmp_path / "a"))
    (tmp_path / "a" / "config.json").unlink()
    assert not is_model(tmp_path / "a")


def test_the_fingerprint_hangs_on_content_not_on_the_folder(tmp_path):
    first, second = make(tmp_path / "a"), make(tmp_path / "b")
    assert fingerprint(first) == fingerprint(second)
    assert fingerprint(make(tmp_path / "c", b"others!")) != fingerprint(first)
    (second / "config.json").write_text("{ }")
    assert fingerprint(second) != fingerprint(first)


def test_a_pipe_among_the_weights_is_refused_and_not_waited_for(tmp_path):
    folder = make(tmp_path / "a")
    os.mkfifo(folder / "z.safetensors")
    with pytest.raises(AppError, match=r"z\.safetensors is no file"):
        fingerprint(folder)
