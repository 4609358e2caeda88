"""The processes of a training under `oneflower supervise`."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scene import Scene


@pytest.fixture
def scene(tmp_path, numpy_app):
    """Make scenes; all their processes are ended after the test."""
    made = []

    def make(name="scene", **options):
        made.append(Scene(tmp_path / name, options.pop("app", numpy_app), **options))
        return made[-1]

    yield make
    for each in made:
        each.close()
