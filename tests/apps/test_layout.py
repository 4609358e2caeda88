"""All apps have the same layout and declare only their own keys."""

import tomllib
from pathlib import Path

import pytest

from oneflower.settings import APP_CONFIG_KEYS

APPS = sorted(path for path in (Path(__file__).parents[2] / "apps").iterdir() if path.is_dir())


@pytest.mark.parametrize("app", APPS, ids=lambda path: path.name)
def test_an_app_declares_its_own_keys_only(app):
    """oneflower's keys are added when the app is packed: a copy would become outdated."""
    declared = tomllib.loads((app / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    assert declared
    assert not declared.keys() & APP_CONFIG_KEYS.keys()


@pytest.mark.parametrize("app", APPS, ids=lambda path: path.name)
def test_an_app_has_the_common_layout(app):
    package = app / app.name.replace("-", "_")
    names = {path.name for path in package.glob("*.py")}
    assert {"__init__.py", "client.py", "data.py", "model.py", "server.py"} <= names
    components = tomllib.loads((app / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["components"]
    assert components == {
        "serverapp": f"{package.name}.server:app",
        "clientapp": f"{package.name}.client:app",
    }
