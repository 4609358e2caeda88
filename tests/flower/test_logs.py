"""What the checkpoint store says is heard where Flower's own lines are, at the same level, once."""

import io
import logging
import os
import subprocess
import sys

import pytest
from flwr.common.logger import FLOWER_LOGGER, ConsoleHandler

from oneflower.checkpoints import CheckpointReader
from oneflower.flower.logs import OURS, ThroughFlower, log_through_flower

from ..federation import Federation


@pytest.fixture
def said(monkeypatch):
    """What Flower's console handler writes; both loggers are as before after the test."""
    handler = ConsoleHandler(colored=False, stream=io.StringIO())
    handler.setLevel(logging.INFO)
    monkeypatch.setattr(FLOWER_LOGGER, "handlers", [handler])
    monkeypatch.setattr(OURS, "handlers", [])
    monkeypatch.setattr(OURS, "level", logging.NOTSET)
    return handler


def lines(handler, words):
    return [line for line in handler.stream.getvalue().splitlines() if words in line]


def damage(folder, number):
    path = folder / f"checkpoint_round_{number}.npz"
    path.write_bytes(path.read_bytes()[:-30])


def test_a_damaged_checkpoint_that_is_passed_over_is_in_the_log_of_the_training(said, tmp_path):
    Federation(folder=tmp_path).train(num_server_rounds=3)
    damage(tmp_path, 3)
    Federation(folder=tmp_path).train(num_server_rounds=4)
    (damaged,) = lines(said, "checkpoint damaged round=3")
    assert damaged.startswith("WARNING")
    assert lines(said, "checkpoint set aside round=3")
    assert CheckpointReader(tmp_path).latest().round == 4


def test_what_retention_removes_is_told_at_info_and_not_at_warning(said, tmp_path):
    Federation(folder=tmp_path / "a").train(checkpoint_keep=2)
    assert lines(said, "old checkpoints removed rounds=1")
    said.setLevel(logging.WARNING)
    before = lines(said, "checkpoint")
    Federation(folder=tmp_path / "b").train(checkpoint_keep=2)
    assert lines(said, "checkpoint") == before


def test_a_journal_that_cannot_be_written_is_told(said, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ONEFLOWER_JOURNAL", str(tmp_path / "file" / "journal.jsonl"))
    Federation(folder=tmp_path / "c").train(num_server_rounds=1)
    assert lines(said, "journal not written")[0].startswith("WARNING")


def test_a_quiet_console_does_not_silence_our_lines_for_others(said, caplog):
    said.setLevel(logging.CRITICAL)
    log_through_flower()
    OURS.getChild("journal").warning("not written")
    assert "not written" in caplog.text
    assert not lines(said, "not written")


def test_it_is_told_once_however_often_it_is_asked_for(said, caplog):
    for _ in range(3):
        log_through_flower()
    OURS.getChild("checkpoints.store").warning("once")
    assert len(lines(said, "once")) == 1
    assert [isinstance(handler, ThroughFlower) for handler in OURS.handlers] == [True]
    assert caplog.text.count("once") == 1


@pytest.mark.parametrize(("level", "heard"), [("DEBUG", 3), ("INFO", 2), ("WARNING", 1), ("ERROR", 0)])
def test_a_process_of_flowers_hears_our_lines_at_its_level(level, heard):
    """FLWR_LOG_LEVEL is how FL_LOG_LEVEL reaches the processes that Flower starts."""
    program = (
        "import logging; from oneflower.flower.logs import log_through_flower; log_through_flower(); "
        "ours = logging.getLogger('oneflower.checkpoints.store'); "
        "ours.debug('said: d'); ours.info('said: i'); ours.warning('said: w')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "FLWR_LOG_LEVEL": level},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr.count("said: ") == heard
