"""Readers report no damage while a training commits and deletes rounds as fast as possible."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oneflower.checkpoints import CheckpointReader, MissingRoundError
from oneflower.cli.main import main
from oneflower.journal import TrainingState
from oneflower.monitor.state.safety import Inspector

LOOP = Path(__file__).with_name("commit_loop.py")
READS, MOST_READS = 800, 40_000


@pytest.fixture
def writer(scratch):
    """Return the folder of a process that commits round after round, keeping the newest two and the best."""
    root = scratch / "checkpoints"
    process = subprocess.Popen(
        [sys.executable, str(LOOP), str(root), "--pruning"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    process.stdin.write("go\n")
    process.stdin.flush()
    pid = int(process.stdout.readline().split()[1])
    deadline = time.monotonic() + 60
    while len(CheckpointReader(root).rounds()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield root
    os.kill(pid, signal.SIGKILL)
    process.stdin.close()
    process.wait(30)
    process.stdout.close()


def test_no_reader_reports_damage_during_commits_and_deletions(writer, count, caplog):
    """Rounds are committed, deleted and saved again with other content while they are read."""
    reader, reads, removed = CheckpointReader(writer), 0, 0
    before = reader.rounds()[-1]
    with caplog.at_level(logging.WARNING):
        while reads < READS or (not removed and reads < MOST_READS):
            for number in reader.rounds():
                reads += 1
                try:
                    reader.verify(number)
                    assert reader.metrics_problem(number) is None
                except MissingRoundError:
                    removed += 1
            for info in reader.list():
                assert info.problem is None
                reads += 1
            newest = reader.latest()
            assert newest is not None
            assert list(newest.metrics["central"])[-1] == str(newest.round)
            reads += 1
    assert "damaged" not in caplog.text
    assert removed, "the writer removed nothing while it was read"
    assert reader.rounds()[-1] > before
    count("reads beside a writer", reads)
    count("rounds removed while they were read", removed)


def test_the_commands_and_the_dashboard_report_no_damage_during_commits(writer, monkeypatch, capsys, count):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["oneflower", "checkpoints", *arguments, "--path", str(writer)])
        try:
            main()
        except SystemExit as end:
            return end.code or 0, capsys.readouterr().out
        return 0, capsys.readouterr().out

    for _ in range(40):
        code, out = run("verify")
        assert (code, "DAMAGED" in out) == (0, False), out
        code, out = run("list", "--json")
        assert code == 0
        assert all(row["verified"] and row["metrics_problem"] is None for row in json.loads(out)["rounds"])
        assert not Inspector(writer).look(TrainingState()).bad
        count("commands beside a writer", 2)
