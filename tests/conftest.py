"""What holds for every test."""

import pytest
from hypothesis import settings

from oneflower.journal import writer

# No test fails on a stopwatch: a busy machine is no defect.
settings.register_profile("no-stopwatch", deadline=None)
settings.load_profile("no-stopwatch")


@pytest.fixture
def federation(tmp_path):
    """Return a small federation of three clients whose checkpoints are in a folder of its own."""
    from .federation import Federation

    return Federation(folder=tmp_path / "checkpoints")


@pytest.fixture(autouse=True)
def refused(monkeypatch):
    """No test may write an event that the journal refuses; one that wants to clears this list."""
    found, report = [], writer.report_refusal

    def refuse(*words):
        found.append(words)
        report(*words)

    monkeypatch.setattr(writer, "report_refusal", refuse)
    yield found
    assert not found, found
