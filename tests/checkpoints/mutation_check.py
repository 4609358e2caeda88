"""Remove each line that makes a commit safe, one at a time, and check that some test fails.

Usage: ``python tests/checkpoints/mutation_check.py``. It copies the package, removes one fsync, rename,
folder sync, hash or comparison, runs the suites that should notice, and prints a table. Exit code 1 if any
removal goes unnoticed. The table is in docs/checkpoints.md.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parents[1] / "src" / "oneflower"
# The cheap suites first: pytest stops at the first failure.
SUITES = (
    "test_files.py",
    "test_store.py",
    "test_npz.py",
    "test_history.py",
    "test_retention.py",
    "test_races.py",
    "test_signing.py",
    "test_crash_states.py",
    "test_corruption.py",
    "test_faults.py",
)

# What is removed, and its replacement, so that the rest still runs.
CALLS = (
    (r"^(\s*)(files|self\._files)\.fsync\(.*\)$", r"\1pass"),
    (r"^(\s*)(files|self\._files)\.sync_folder\(.*\)$", r"\1pass"),
    (r"^(\s*)(files|self\._files)\.rename\(.*\)$", r"\1pass"),
    (r"^(\s*)os\.fsync\(.*\)$", r"\1pass"),
    (r"^(\s*)old\.rename\(new\)$", r"\1pass"),
    (r"^(\s*)(self\._digest|digest|hasher)\.update\(.*\)$", r"\1pass"),
    (r"^(\s*)_compare\(.*\)$", r"\1pass"),
    (r"^(\s*)_check\(file, record\)$", r"\1pass"),
    (r"^(\s*)_check_file_names\(.*\)$", r"\1pass"),
    (r"^(\s*)if (sha256|size_bytes) != record\..*:$", r"\1if False:"),
    (r"^(\s*)if _rendered\(content\) != data:$", r"\1if False:"),
    (r"^(\s*)signer\.check\(content, _text\)$", r"\1pass"),
    (r"^(\s*)if manifest\.round != number:$", r"\1if False:"),
    (r"^(\s*)if list\(manifest\.files\) == records and .*:$", r"\1if True:"),
    (r"^(\s*)fcntl\.flock\(.*\)$", r"\1pass"),
    # the history: written and read back before the manifest that names it
    (r"^(\s*)record_history\(.*\)$", r"\1pass"),
    (r"^(\s*)check_(line|manifest|schema|metrics)\(.*\)$", r"\1pass"),
    (r"^(\s*)_hide_links\(.*\)$", r"\1pass"),
    (r"^(\s*)set_history_aside\(.*\)$", r"\1pass"),
    (r"^(.*)line\.sha256 != position\.sha256:$", r"\1False:"),
    (r"^(\s*)if _chained\(.*\) != sha256:$", r"\1if False:"),
    (r"^(\s*)if found != records:$", r"\1if False:"),
    (r"^(\s*if problem is None and) line != entry\.line:$", r"\1 False:"),
    (r"^(\s*if ledger\.unreadable) or ledger\.size_bytes != .*:$", r"\1:"),
    (r"^(\s*)for _ in range\(2\):(.*)$", r"\1for _ in range(1):\2"),
    # readers during a write
    (r"^(\s*)if not isinstance\(damage\.__cause__, FileNotFoundError\):$", r"\1if True:"),
    (r"^(\s*)if self\._is_current\(manifest\):$", r"\1if True:"),
    (r"^(.*)zlib\.crc32\(data, zlib\.crc32\(header\)\)(.*)$", r"\g<1>0\2"),
)


@dataclass(frozen=True)
class Mutant:
    module: str
    line: int
    text: str
    changed: str


def mutants():
    """Yield every single removal in the package."""
    for path in sorted((PACKAGE / "checkpoints").glob("*.py")):
        for number, line in enumerate(path.read_text().splitlines()):
            for pattern, replacement in CALLS:
                changed = re.sub(pattern, replacement, line)
                if changed != line:
                    yield Mutant(path.name, number, line.strip(), changed)


def kill(mutant, copy):
    """Run the suites on a copy of the package with one line changed; return the first test that fails."""
    target = copy / "oneflower" / "checkpoints" / mutant.module
    whole = target.read_text()
    lines = whole.splitlines()
    lines[mutant.line] = mutant.changed
    target.write_text("\n".join(lines) + "\n")
    try:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-p",
            "no:cacheprovider",
            "--no-header",
            "--tb=no",
            "-rf",
        ]
        done = subprocess.run(
            [*command, *(str(TESTS / suite) for suite in SUITES)],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
            env=os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        )
    finally:
        target.write_text(whole)
    failed = re.search(r"^(?:FAILED|ERROR) \S*?(\w+\.py)(?:::(\w+))?", done.stdout, re.MULTILINE)
    if done.returncode == 1 and failed:
        return failed[2] or failed[1]
    return None if done.returncode == 0 else f"pytest ended with {done.returncode}"


def print_now(text):
    """Print a line without buffering: the whole check takes minutes."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main():
    """Print one row per removal, and how many no test noticed."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(PACKAGE, copy / "oneflower", ignore=shutil.ignore_patterns("__pycache__"))
        first_line = (PACKAGE / "checkpoints" / "names.py").read_text().splitlines()[0]
        if problem := kill(Mutant("names.py", 0, first_line, first_line), copy):
            sys.exit(f"the suites fail without any removal: {problem}")
        started, found = time.monotonic(), list(mutants())
        print_now("| module | removed | noticed by |\n|---|---|---|")
        noticed = [report(mutant, kill(mutant, copy)) for mutant in found]
    seconds = time.monotonic() - started
    print_now(f"\n{len(found)} removals, {noticed.count(False)} unnoticed, {seconds:.0f} s")
    sys.exit(not all(noticed))


def report(mutant, by):
    """Print a removal's row and return whether it was noticed."""
    text = mutant.text.replace("|", "\\|")
    print_now(f"| {mutant.module} | `{text}` | {by or '**nothing**'} |")
    return by is not None


if __name__ == "__main__":
    main()
