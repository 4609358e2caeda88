"""What holds for every test."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from oneflower.flower.calls.used_device import forget_device
from oneflower.flower.version import DEPLOYED, supported_version
from oneflower.journal import writer

if supported_version() != DEPLOYED:  # `make newest`
    from oneflower.flower.door import port

    port.identify_server(run_id=1)  # tests create messages as a ServerApp does

# No test fails on a stopwatch: a busy machine is no defect. Every run draws the same examples, so that a
# failure belongs to the change that it is seen with; `make laws` looks for new ones.
settings.register_profile("same", deadline=None, derandomize=True, max_examples=100)
settings.register_profile("nightly", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile("same")


# Where the Makefile's targets look for tests with these marks.
FOLDERS = {
    "e2e": {"browser", "cli", "docs", "e2e", "flower"},
    "browser": {"browser"},
    "netns": {"e2e"},
    "slow": {"e2e", "stock"},
    "hosts": {"e2e"},
    "attacks": {"attacks"},
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Refuse a test that no target of the Makefile would run."""
    root = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(root).parts[0]
        marks = {mark.name for mark in item.iter_markers()}
        kind = next(
            (each for each in ("attacks", "slow", "hosts", "e2e", "browser", "netns") if each in marks), ""
        )
        if kind and folder not in FOLDERS[kind]:
            raise pytest.UsageError(
                f"{item.nodeid}: `make` looks for {kind} tests in {sorted(FOLDERS[kind])}"
            )


LONGEST_ID = 60


def pytest_make_parametrize_id(val, argname):
    """Name a long text or bytes by its argument: new keys and zip files differ from worker to worker."""
    return argname if isinstance(val, str | bytes) and len(val) > LONGEST_ID else None


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


@pytest.fixture(autouse=True)
def same_umask():
    """A test may run a program in its own process that sets the umask; the next test has that of before."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def no_device_noted():
    """An app that ran in this process may have named its device; the next test knows of none."""
    forget_device()
