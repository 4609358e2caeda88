"""The SHA-256 that an undisturbed training ends with: a simulation gives the same bytes in seconds."""

import os
import subprocess
import sys

from oneflower.journal import read_journal


def simulated_sha256(folder, app, *, clients, values=8, **variables):
    """Simulate the NumPy app in a state folder; variables are FL_* without the prefix."""
    given = {"CHECKPOINT_ENABLED": "NO", **variables, "CHECKPOINT_PATH": str(folder / "checkpoints")}
    environ = {f"FL_{name}": value for name, value in given.items()} | {"TEST_VALUES": str(values)}
    return simulate(folder, "--app", app, clients=clients, environ=environ)


def simulate(folder, *options, clients, environ):
    """Run `oneflower simulate` in a state folder; return the SHA-256 of its final model."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FL_")}
    command = [sys.executable, "-m", "oneflower.cli.main", "simulate", "--clients", clients, "--quiet"]
    done = subprocess.run(
        [*map(str, command), "--state", str(folder), *map(str, options)],
        env={**kept, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    entries = read_journal(folder / "journal.jsonl")
    (finished,) = [entry.event for entry in entries if entry.event.tag == "training_finished"]
    return finished.sha256
