"""All apps have one layout, and declare every key that oneflower may set."""

import tomllib
from pathlib import Path

import pytest

from oneflower.settings import APP_CONFIG_KEYS

APPS = sorted(path for path in (Path(__file__).parents[2] / "apps").iterdir() if path.is_dir())


@pytest.mark.parametrize("app", APPS, ids=lambda path: path.name)
def test_an_app_declares_oneflowers_keys_with_their_defaults(app):
    """Flower fails a run that overrides a key which the app's pyproject does not declare."""
    declared = tomllib.loads((app / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    assert {key: declared.get(key) for key in APP_CONFIG_KEYS} == dict(APP_CONFIG_KEYS)


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
