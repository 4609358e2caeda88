"""`oneflower new` writes a working app under the given name and overwrites nothing."""

import ast
import os
import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from oneflower.apps_catalogue import STARTERS, write_app
from oneflower.apps_catalogue.create import package_name
from oneflower.apps_catalogue.find import app_folder
from oneflower.cli.main import app as command
from oneflower.errors import SettingsError, StateError
from oneflower.flower.fab import build_fab
from oneflower.settings.use_cases import FRAMEWORKS

ROOT = Path(__file__).parents[2]


def test_new_writes_a_flower_app_in_the_common_layout(tmp_path):
    folder = write_app("fish-counter", tmp_path)
    assert folder == tmp_path / "fish-counter"
    assert {path.name for path in (folder / "fish_counter").iterdir()} == {
        "__init__.py",
        "client.py",
        "data.py",
        "model.py",
        "server.py",
    }
    assert build_fab(folder).id == "me/fish-counter"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fish-counter"]


def test_the_name_of_the_template_is_replaced_everywhere(tmp_path):
    folder = write_app("fish", tmp_path)
    for path in folder.rglob("*"):
        assert "my" not in path.name
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert "my-app" not in text
            assert "my_app" not in text
            if path.suffix == ".py":
                ast.parse(text)


@pytest.mark.parametrize("framework", STARTERS)
def test_there_is_an_app_for_each_framework(tmp_path, framework):
    folder = write_app("fish-counter", tmp_path, framework)
    assert {path.name for path in folder.iterdir()} == {"README.md", "pyproject.toml", "fish_counter"}
    assert {path.name for path in (folder / "fish_counter").iterdir()} == {
        "__init__.py",
        "client.py",
        "data.py",
        "model.py",
        "server.py",
    }
    for path in folder.rglob("*.*"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"my[-_](stock[-_])?app", text), path
        if path.suffix == ".py":
            ast.parse(text)
            assert framework == "pytorch" or "oneflower" not in text
    assert build_fab(folder).id == "me/fish-counter"


@pytest.mark.parametrize("framework", [each for each in STARTERS if each != "pytorch"])
def test_an_app_needs_the_versions_of_oneflowers_extra(tmp_path, framework):
    folder = write_app("fish", tmp_path, framework)
    needed = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["dependencies"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(needed) == {"flwr==1.25.0", "numpy>=2.0,<3", *extras[framework]}
    assert set(STARTERS) == set(FRAMEWORKS) - {"any"}


def test_another_framework_is_refused_with_those_that_there_are(tmp_path):
    with pytest.raises(SettingsError, match="expected one of pytorch, tensorflow, sklearn, xgboost, jax"):
        write_app("fish", tmp_path, "caffe")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "not a valid name of a project"),
        ("My-App", "not a valid name of a project"),
        ("9lives", "not a valid name of a project"),
        ("a/b", "not a valid name of a project"),
        ("../up", "not a valid name of a project"),
        ("a--b", "not a valid name of a project"),
        ("-a", "not a valid name of a project"),
        ("a b", "not a valid name of a project"),
        ("größe", "not a valid name of a project"),
        ("x" * 65, "not a valid name of a project"),
        ("class", "a Python keyword"),
        ("json", "already has a module json"),
        ("torch", "already has a module torch"),
        ("oneflower", "already has a module oneflower"),
    ],
)
def test_an_invalid_name_is_refused_and_nothing_is_written(tmp_path, name, reason):
    with pytest.raises(SettingsError, match=reason):
        write_app(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_dash_becomes_an_underscore_in_the_package():
    assert package_name("a-b_c2") == "a_b_c2"


@pytest.mark.parametrize("make", ["mkdir", "touch", "symlink"])
def test_an_existing_folder_is_not_changed(tmp_path, make):
    taken = tmp_path / "taken"
    if make == "symlink":
        taken.symlink_to(tmp_path / "nowhere")
    else:
        getattr(taken, make)()
    before = os.lstat(taken)
    with pytest.raises(StateError, match="already exists"):
        write_app("taken", tmp_path)
    assert os.lstat(taken) == before


def test_a_failure_leaves_no_partial_app(tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.rename", full)
    with pytest.raises(StateError, match="No space left"):
        write_app("fish", tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_prints_the_next_steps_and_has_exit_codes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command, ["new", "fish"])
    assert result.exit_code == 0
    assert "fish/fish/client.py" in result.output
    assert "oneflower up --app fish" in result.output
    assert isinstance(CliRunner().invoke(command, ["new", "fish"]).exception, StateError)
    assert isinstance(CliRunner().invoke(command, ["new", "Fish"]).exception, SettingsError)


def test_a_package_of_the_source_tree_holds_every_file_of_the_template():
    """Hatchling packs everything in apps except what git ignores."""
    template = app_folder("my-app")
    names = {path.relative_to(template).as_posix() for path in template.rglob("*.*") if path.suffix != ".pyc"}
    assert names == {
        "README.md",
        "pyproject.toml",
        *(f"my_app/{name}.py" for name in ("__init__", "client", "data", "model", "server")),
    }
