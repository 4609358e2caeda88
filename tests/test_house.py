"""The measure of the source tree counts modules, functions and names that are defined twice."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "house.py"


def measured(*arguments):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_two_trees_are_measured_side_by_side(tmp_path):
    before, after = tmp_path / "before", tmp_path / "after" / "src" / "oneflower"
    (after / "deep").mkdir(parents=True)
    before.mkdir()
    (before / "a.py").write_text("def one():\n    return 1\n")
    (after / "a.py").write_text("class Same:\n    def method(self):\n        x = 1\n        return x\n")
    (after / "deep" / "b.py").write_text("def Same(): ...\ndef _own(): ...\n")
    code, output = measured(before, tmp_path / "after", "--names")
    assert code == 0, output
    rows = {line.split(" | ")[0].lstrip("| "): line.split(" | ")[1:] for line in output.splitlines()}
    assert rows["modules"] == ["1", "2 |"]
    assert rows["lines"] == ["2", "6 |"]
    assert rows["longest function"] == ["2 lines, one (a.py:1)", "3 lines, method (a.py:2) |"]
    assert rows["names defined twice"] == ["0, 0 of them public", "1, 1 of them public |"]
    assert "  Same: a.py, deep/b.py" in output


def test_a_folder_without_python_is_refused(tmp_path):
    code, output = measured(tmp_path)
    assert (code, "no Python module with a function" in output) == (1, True)
