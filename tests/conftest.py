"""What holds for every test."""

import pytest
from hypothesis import settings

# No test fails on a stopwatch: a busy machine is no defect.
settings.register_profile("no-stopwatch", deadline=None)
settings.load_profile("no-stopwatch")


@pytest.fixture
def federation(tmp_path):
    """Return a small federation of three clients whose checkpoints are in a folder of its own."""
    from .federation import Federation

    return Federation(folder=tmp_path / "checkpoints")
