"""The tools that run the tests: a group of tests shares a cluster only if one worker runs all of it."""

import re
import subprocess
import sys

GROUPED = """
import pytest

@pytest.mark.xdist_group("shared")
@pytest.mark.parametrize("number", range(6))
def test_of_a_group(number):
    pass
"""


def test_one_worker_runs_all_tests_of_a_group(tmp_path):
    (tmp_path / "test_grouped.py").write_text(GROUPED)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-n", "3", "--dist", "loadgroup", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert len(set(re.findall(r"\[(gw\d)\].*PASSED", done.stdout))) == 1, done.stdout
