"""All apps have one layout, and declare every key that oneflower may set."""

import tomllib
from pathlib import Path

import pytest

from oneflower.apps_catalogue.create import PROJECT
from oneflower.settings import APP_CONFIG_KEYS, TABLE

APPS = sorted(path for path in (Path(__file__).parents[2] / "apps").iterdir() if path.is_dir())
# The starter app leaves them to `build_fab`, as a user's app may.
READY_MADE = [app for app in APPS if app.name != PROJECT]


@pytest.mark.parametrize("app", READY_MADE, ids=lambda path: path.name)
def test_an_app_declares_oneflowers_keys_with_their_defaults(app):
    """Flower fails a run that overrides a key which the app's pyproject does not declare."""
    others = {each.run_config_key for each in TABLE if each.use_cases and app.name not in each.use_cases}
    expected = {key: default for key, default in APP_CONFIG_KEYS.items() if key not in others}
    declared = tomllib.loads((app / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    assert {key: declared[key] for key in declared if key in APP_CONFIG_KEYS} == expected


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
