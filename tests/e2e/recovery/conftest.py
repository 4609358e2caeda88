"""The processes of a training, and what undisturbed ones of the same app end with."""

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


@pytest.fixture
def undisturbed(tmp_path, numpy_app):
    """Return the SHA-256 with which an undisturbed training ends."""

    def train(**variables):
        calm = Scene(tmp_path / "undisturbed", numpy_app, pause_s=0.0, **variables)
        try:
            return calm.start().finish().sha256
        finally:
            calm.close()

    return train
