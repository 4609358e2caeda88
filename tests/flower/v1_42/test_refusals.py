"""With the newest Flower no cluster starts, and the error says what works and what to install."""

import subprocess
import sys

import pytest

from oneflower.errors import FlowerVersionError
from oneflower.flower.launch import PROGRAMS
from oneflower.flower.version import supported_version

CLI = (sys.executable, "-P", "-m", "oneflower.cli.main")
LAUNCH = (sys.executable, "-P", "-m", "oneflower.flower.launch")


@pytest.mark.parametrize(
    "command",
    [
        *((*LAUNCH, program, "--insecure") for program in PROGRAMS),
        (*CLI, "up", "--nodes", "1"),
        (*CLI, "supervise", "--app", "."),
    ],
    ids=lambda command: " ".join(command[3:5]),
)
def test_no_cluster_starts(command, tmp_path):
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == FlowerVersionError.exit_code == 4, done.stderr
    assert f"Flower {supported_version()} is installed" in done.stderr
    assert "`oneflower simulate` and `oneflower app check` work" in done.stderr
    assert "pip install flwr==1.25.0" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [("config", "check"), ("new", "made"), ("checkpoints", "--help")])
def test_a_command_that_needs_no_cluster_works(command, tmp_path):
    done = subprocess.run(
        [*CLI, *command], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
