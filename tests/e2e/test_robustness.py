"""The recommended rule withstands what carries the mean away: a short form of benchmarks/robustness.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_the_recommended_rule_holds_where_the_mean_does_not(tmp_path):
    """A short form of the matrix: few rounds, one seed, uneven data."""
    done = subprocess.run(
        [sys.executable, str(FOLDER / "robustness.py"), "--quick"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])["losses"]
    assert found["FedAvg"]["alpha 0.3"] > 20
    assert found["Robust"]["alpha 0.3"] < 8
