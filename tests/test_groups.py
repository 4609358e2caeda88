"""The tools that run the tests: a group of tests shares a cluster only if one worker runs all of it."""

import re
import subprocess
import sys
from pathlib import Path

GROUPED = """
import pytest

@pytest.mark.xdist_group("shared")
@pytest.mark.parametrize("number", range(6))
def test_of_a_group(number):
    pass
"""

FAILING = """
import pathlib
import pytest

@pytest.mark.xdist_group("shared")
@pytest.mark.parametrize("number", ["a", "b@c"])
def test_of_a_group(number):
    assert number == "a"

def test_alone():
    assert False
"""
AGAIN = Path(__file__).with_name("again.py")


def run(folder, *options):
    command = [sys.executable, "-m", "pytest", "-v", "-n", "3", "--dist", "loadgroup", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)


def test_what_failed_in_a_group_and_alone_is_named_for_another_run(tmp_path):
    (tmp_path / "test_failing.py").write_text(FAILING)
    assert run(tmp_path).returncode == 1
    named = subprocess.run([sys.executable, AGAIN], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert named.stdout.splitlines() == [
        "test_failing.py::test_alone",
        "test_failing.py::test_of_a_group[b@c]",
    ]


def test_a_run_without_failed_tests_names_none(tmp_path):
    named = subprocess.run([sys.executable, AGAIN], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (named.returncode, named.stdout) == (1, "")


def test_one_worker_runs_all_tests_of_a_group(tmp_path):
    (tmp_path / "test_grouped.py").write_text(GROUPED)
    done = run(tmp_path, "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout
    assert len(set(re.findall(r"\[(gw\d)\].*PASSED", done.stdout))) == 1, done.stdout
