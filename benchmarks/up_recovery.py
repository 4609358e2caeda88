"""Compare checkouts: seconds from the kill (-9) of the SuperLink of `oneflower up` to the next round.

    python benchmarks/up_recovery.py [--kills 5] [--json] TREE...

A tree is a checkout of this repository; the first is the comparison. Each trains a tiny model on two nodes
with the defaults of its own `oneflower up`, at the same time of the run, one kill after another, in turns.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from numpy_app import write_numpy_app  # noqa: E402

NODES, START_S, WAIT_S = 2, 120.0, 300.0
PAUSE_S = 0.5
"""What a client works in each round."""
CONTEXT = """FL_NUM_ROUNDS='100000'
FL_CHECKPOINT_ENABLED='YES'
FL_CHECKPOINT_INTERVAL='1'
FL_MAX_RESTARTS='100'
"""


class Training:
    """One `oneflower up` of one checkout."""

    def __init__(self, tree: Path, folder: Path) -> None:
        self.state = folder / "state"
        folder.mkdir()
        context = folder / "context.sh"
        context.write_text(CONTEXT)
        command = [sys.executable, "-m", "oneflower.cli.main", "up", "--context", str(context)]
        command += ["--app", str(write_numpy_app(folder / "app")), "--state", str(self.state)]
        environ = {**os.environ, "PYTHONPATH": str(tree.absolute() / "src"), "TEST_PAUSE_S": str(PAUSE_S)}
        self._log = (folder / "up.log").open("wb")
        self.process = subprocess.Popen(
            [*command, "--nodes", str(NODES)], stdout=self._log, stderr=self._log, env=environ
        )

    def completed(self, after: float) -> float | None:
        """Return when the first round after a moment was completed, in seconds since 1970; None for none."""
        with suppress(OSError):
            for line in (self.state / "journal.jsonl").read_text().splitlines():
                entry: dict[str, Any] = json.loads(line)
                if entry["event"] == "round_completed":
                    moment = datetime.fromisoformat(entry["time"]).timestamp()
                    if moment > after:
                        return moment
        return None

    def wait(self, after: float, seconds: float) -> float:
        """Wait for a completed round; return when it was."""
        deadline = time.monotonic() + seconds
        while (found := self.completed(after)) is None:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise SystemExit(f"no round was completed:\n{Path(self._log.name).read_text()[-2000:]}")
            time.sleep(0.05)
        return found

    def kill(self) -> float:
        """Kill the SuperLink in the middle of a round; return the seconds to the next completed one."""
        self.wait(time.time(), WAIT_S)
        time.sleep(PAUSE_S / 2)
        processes = json.loads((self.state / "processes.json").read_text())["processes"]
        began = time.time()
        os.kill(processes["superlink"]["pid"], signal.SIGKILL)
        return self.wait(began + 0.2, WAIT_S) - began

    def end(self) -> None:
        """End the training."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        self._log.close()


def main() -> None:
    """Kill in turns, and print the medians and their ratio to the first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("trees", nargs="+", type=Path, help="checkouts; the first is the comparison")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    times: dict[Path, list[float]] = {tree: [] for tree in given.trees}
    with tempfile.TemporaryDirectory(prefix="up-recovery-") as folder:
        trainings = {
            tree: Training(tree, Path(folder) / str(number)) for number, tree in enumerate(given.trees)
        }
        try:
            for training in trainings.values():
                training.wait(0.0, START_S)
            for _ in range(given.kills):
                for tree, training in trainings.items():
                    times[tree].append(training.kill())
        finally:
            for training in trainings.values():
                training.end()
    medians = {tree: statistics.median(found) for tree, found in times.items()}
    first = medians[given.trees[0]]
    for tree, seconds in medians.items():
        listed = ", ".join(f"{each:.1f}" for each in times[tree])
        print(f"{tree}: median {seconds:.1f} s ({listed}), ratio {seconds / first:.2f}")
    if given.json:
        ratios = {str(tree): round(seconds / first, 2) for tree, seconds in medians.items()}
        print(json.dumps({"ratios": ratios}))


if __name__ == "__main__":
    main()
