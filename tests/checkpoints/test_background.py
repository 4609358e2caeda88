"""Writing in the background: submit returns at once, one save at a time, no error is lost."""

import threading

import pytest

from oneflower.checkpoints import BackgroundWriter, CheckpointStore, background
from oneflower.checkpoints.files import OsFiles
from oneflower.errors import AppError, StateError


class GatedFiles(OsFiles):
    """The real files, with an fsync that waits until the test releases it."""

    def __init__(self):
        self.gate, self.reached, self.broken = threading.Event(), threading.Event(), None

    def fsync(self, descriptor):
        self.reached.set()
        assert self.gate.wait(30)
        if self.broken:
            raise self.broken
        super().fsync(descriptor)


@pytest.fixture
def files():
    return GatedFiles()


@pytest.fixture
def store(root, files):
    files.gate.set()
    with CheckpointStore(root, files=files) as store:
        yield store
    files.gate.set()


@pytest.fixture
def outcomes():
    return []


@pytest.fixture
def writer(store, outcomes):
    return BackgroundWriter(
        store, on_saved=outcomes.append, on_failed=lambda number, error: outcomes.append((number, error))
    )


def test_submit_returns_while_the_checkpoint_is_being_written(writer, files, outcomes, make, same, store):
    files.gate.clear()
    files.reached.clear()
    writer.submit(make(1))
    assert files.reached.wait(30)
    assert outcomes == []
    files.gate.set()
    writer.wait()
    assert [saved.round for saved in outcomes] == [1]
    assert same(store.latest(), make(1))


def test_the_next_submit_waits_for_the_one_in_flight(writer, files, outcomes, make):
    files.gate.clear()
    writer.submit(make(1))
    second = threading.Thread(target=writer.submit, args=(make(2),))
    second.start()
    second.join(0.1)
    assert second.is_alive()
    files.gate.set()
    second.join(30)
    writer.wait()
    assert [saved.round for saved in outcomes] == [1, 2]


def test_a_failure_goes_to_its_callback_and_the_next_round_is_saved(writer, files, outcomes, make):
    files.broken = OSError(28, "No space left on device")
    writer.submit(make(1))
    writer.wait()
    files.broken = None
    writer.submit(make(2))
    writer.wait()
    (number, error), saved = outcomes
    assert (number, type(error), saved.round) == (1, StateError, 2)
    assert "disk is full" in str(error)


def test_any_exception_is_reported_and_not_lost_with_its_thread(writer, outcomes, make):
    writer.submit(make(1, metrics={"train": {"1": {"loss": object()}}}))
    writer.wait()
    assert outcomes[0][0] == 1
    assert isinstance(outcomes[0][1], AppError)


def test_leaving_the_block_waits_for_the_last_checkpoint(writer, outcomes, make):
    with writer:
        writer.submit(make(1))
    assert [saved.round for saved in outcomes] == [1]


def test_waiting_with_nothing_in_flight_returns_at_once(writer):
    writer.wait()


@pytest.mark.parametrize("begun", [True, False])
def test_an_interruption_while_the_thread_starts_is_no_error(writer, outcomes, make, monkeypatch, begun):
    """Ctrl-C in `Thread.start` was told as "cannot join thread before it is started"."""
    start = threading.Thread.start

    def interrupted(thread):
        if begun:
            start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(background, "START_S", 10.0 if begun else 0.01)
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer.submit(make(1))
    writer.wait()
    assert [saved.round for saved in outcomes] == ([1] if begun else [])
