"""Simulate one training with several Pythons, each with a Flower of its own; expect the same model.

`make newest` runs it: ``python tests/newest/same_model.py .venv/bin/python .venv-newest/bin/python``.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CONTEXT = Path(__file__).parents[2] / "examples" / "demo" / "context.sh"
VERSION = "from importlib.metadata import version; print(version('flwr'))"
LABEL = "SHA-256"
LONGEST_S = 900


def model_of(python: str, context: Path, clients: int, app: str | None) -> str:
    """Simulate with the oneflower of a Python; return the SHA-256 of the final model."""
    with tempfile.TemporaryDirectory() as state:
        command = [python, "-m", "oneflower.cli.main", "simulate", "--context", str(context.resolve())]
        command += ["--clients", str(clients), "--state", state, *(["--app", app] if app else [])]
        # Of Flower's own reports none is made in a test.
        environ = {**os.environ, "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LONGEST_S, check=False, env=environ, cwd=state
        )
    lines = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith(LABEL)]
    if done.returncode or not lines:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return lines[-1]


def flower_of(python: str) -> str:
    """Return the version of the Flower that a Python has."""
    return subprocess.run([python, "-c", VERSION], capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    """Print a line for each Python; return 1 where the models differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pythons", nargs="+", help="interpreters that have oneflower installed")
    parser.add_argument("--context", type=Path, default=CONTEXT, help="settings; by default the demo's")
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--app", help="folder of an app, instead of the context's FL_USE_CASE")
    given = parser.parse_args()
    app = None if given.app is None else str(Path(given.app).resolve())
    found = set()
    for python in (str(Path(each).absolute()) for each in given.pythons):
        sha = model_of(python, given.context, given.clients, app)
        sys.stdout.write(f"flwr {flower_of(python)}: {sha}\n")
        sys.stdout.flush()
        found.add(sha)
    if len(found) > 1:
        sys.stdout.write("the models differ\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
