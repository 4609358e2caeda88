"""The page beside a real training on a real cluster, which is killed and started again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.e2e, pytest.mark.timeout(600)]

CONTEXT = """
FL_USE_CASE='image-classification'
FL_NUM_ROUNDS='4'
FL_MIN_FIT_CLIENTS='2'
FL_MIN_EVALUATE_CLIENTS='2'
FL_MIN_AVAILABLE_CLIENTS='2'
FL_CHECKPOINT_ENABLED='YES'
FL_CHECKPOINT_INTERVAL='1'
"""


class Up:
    """`oneflower up` as a process."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "context.sh").write_text(CONTEXT)
        self.state = folder / "state"
        self.process = None

    def start(self):
        command = [sys.executable, "-m", "oneflower.cli.main", "up", "--plain", "--no-dashboard"]
        with (self.folder / "up.log").open("a") as log:
            self.process = subprocess.Popen(
                [*command, "--context", str(self.folder / "context.sh"), "--state", str(self.state)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "FLWR_TELEMETRY_ENABLED": "0"},
            )

    def end(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)


@pytest.fixture
def up(tmp_path):
    started = Up(tmp_path)
    yield started
    started.end()


def test_a_real_training_is_seen_from_its_first_round_over_a_kill_to_its_end(up, serve, visit):
    """One page is open all the time; the training's own processes are killed beneath it."""
    seen = visit(serve(Path(up.state) / "journal.jsonl").url)
    assert "No training yet" in seen.text("headline")
    up.start()
    seen.waits_for("tiles", "1 of 4", timeout_s=240)
    seen.waits_for("tiles", "verified", timeout_s=240)
    up.process.kill()
    up.process.wait(30)
    up.start()
    seen.waits_for("timeline", "Training resumes after round", timeout_s=240)
    seen.waits_for("headline", "All 4 rounds are done; resumed once", timeout_s=240)
    assert "The final model of round 4 is saved" in seen.text("checkpoints")
    assert seen.page.locator("#accuracy g .sign").first.text_content() == "↻"
    seen.picture("real-training")
    limit = time.monotonic() + 240
    while up.process.poll() is None:
        assert time.monotonic() < limit
        time.sleep(0.2)
    assert up.process.returncode == 0
