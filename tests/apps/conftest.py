"""Make the apps' packages importable, as Flower does when it runs an app."""

import sys
from pathlib import Path

import pytest

APPS = Path(__file__).parents[2] / "apps"
sys.path.insert(0, str(Path(__file__).parent))
sys.path[:0] = [str(app) for app in sorted(APPS.iterdir()) if app.is_dir()]


@pytest.fixture(autouse=True)
def _no_data_of_this_machine(monkeypatch):
    monkeypatch.delenv("ONEFLOWER_DATA", raising=False)
    monkeypatch.delenv("ONEFLOWER_DATA_CACHE", raising=False)
