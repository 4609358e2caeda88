"""The load generator trains with light nodes, and ends with a line of JSON."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCALE = Path(__file__).parents[2] / "benchmarks" / "scale.py"


@pytest.mark.e2e
@pytest.mark.timeout(300)
@pytest.mark.parametrize("options", [("--rounds", "2"), ("--minutes", "1", "--work", "1")], ids=" ".join)
def test_the_last_line_says_what_a_round_took_and_that_nothing_was_lost(tmp_path, options):
    command = [sys.executable, str(SCALE), "--nodes", "4", "--values", "1000", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["nodes"], found["lost"], found["completed"]) == (4, 0, True), found
    assert found["rounds"] >= (2 if "--rounds" in options else 1)
    for name in ("seconds_a_round", "cpu_seconds_a_round", "ms_a_call", "rss_mb", "descriptors"):
        assert found[name] > 0, found
