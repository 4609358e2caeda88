"""Measure the memory and the disk of every process that handles a large model, beside what the formulas say.

``python benchmarks/large_models.py``                              2 clients, models of 100 and 500 MB
``python benchmarks/large_models.py --model-mb 1000 --arrays 1``   one model of 1 GB in a single array

Each training runs under `oneflower up`: two rounds, then one more after a resume. The memory of a process is
VmHWM, the pages that it has had at once, those of files among them. The disk is the largest size that a file
has had. The clients' training takes no memory of its own, so that what is left is what it costs to hand a
model over. The last line is JSON.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from server_memory import write_app

from oneflower.flower.programs import program_of
from oneflower.local_cluster.processes import MARKER
from oneflower.procfs import PROC, command_line, with_environment

LOOK_S: Final = 0.1
ZYGOTE: Final = "warm.zygote"
"""What the process is called whose children run ClientApps."""
MB: Final = 1_000_000


class Watch:
    """The most memory of each program of a cluster, and the most that its files took, in bytes."""

    def __init__(self, state: Path) -> None:
        self.state, self.memory, self.disk = state, Counter[str](), Counter[str]()
        self.together = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_again_and_again, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look_again_and_again(self) -> None:
        while not self._over.wait(LOOK_S):
            with suppress(OSError):
                self._look()

    def _look(self) -> None:
        with suppress(OSError, TypeError):
            token = re.search(r'"token": "(\w+)"', (self.state / "processes.json").read_text())
            if token is not None:
                self._look_at([identity.pid for identity in with_environment(MARKER, token[1])])
        self._largest("database", self.state / "superlink")
        self._largest("checkpoints", self.state / "checkpoints")

    def _look_at(self, pids: Sequence[int]) -> None:
        together = 0
        for pid in pids:
            role = role_of(pid)
            self.memory[role] = max(self.memory[role], peak_of(pid))
            together += proportional(pid)
            if role == "serverapp":
                self.disk["replies"] = max(self.disk["replies"], unnamed_files(pid))
        self.together = max(self.together, together)

    def _largest(self, name: str, folder: Path) -> None:
        size = 0
        for path in folder.rglob("*"):
            with suppress(OSError):
                size += path.lstat().st_blocks * 512
        self.disk[name] = max(self.disk[name], size)


def role_of(pid: int) -> str:
    """Return the program that a process runs; a ClientApp is a child of its executor."""
    line = command_line(pid)
    if any(part.endswith(ZYGOTE) for part in line):
        return "clientapp"
    return program_of(line) or " ".join(line[2:5])


def peak_of(pid: int) -> int:
    """Return the most memory that a process has had, in bytes."""
    with suppress(OSError):
        found = re.search(r"^VmHWM:\s+(\d+)", (PROC / str(pid) / "status").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found else 0
    return 0


def proportional(pid: int) -> int:
    """Return the memory of a process, where what it shares with others is counted in parts, in bytes."""
    with suppress(OSError):
        found = re.search(r"^Pss:\s+(\d+)", (PROC / str(pid) / "smaps_rollup").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found else 0
    return 0


def unnamed_files(pid: int) -> int:
    """Return the size of the files without a name that a process has open, in bytes."""
    sizes = {}
    for link in (PROC / str(pid) / "fd").iterdir():
        with suppress(OSError):
            if link.readlink().name.endswith("(deleted)"):
                found = link.stat()
                sizes[found.st_ino] = found.st_blocks * 512
    return sum(sizes.values())


def train(folder: Path, app: Path, given: argparse.Namespace, model_mb: int, rounds: int) -> Watch:
    """Train up to a round and return what was seen."""
    values = model_mb * MB // 4 // given.arrays
    environ = {
        **os.environ,
        "MEMORY_FILE": str(folder / "memory"),
        "MEMORY_VALUES": str(values),
        "MEMORY_ARRAYS": str(given.arrays),
        "FL_NUM_ROUNDS": str(rounds),
        "FL_ROUND_TIMEOUT": "3000",
        "FL_STREAMING_MEAN": given.streaming,
        "FL_STRATEGY": given.strategy,
        "FL_CHECKPOINT_ENABLED": "YES",
        "FL_CHECKPOINT_KEEP": "2",
        "FL_MIN_FIT_CLIENTS": str(given.clients),
        "FL_MIN_AVAILABLE_CLIENTS": str(given.clients),
        "FL_MIN_EVALUATE_CLIENTS": "0",
    }
    command = [sys.executable, "-m", "oneflower.cli.main", "up", "--nodes", str(given.clients)]
    command += ["--app", str(app), "--state", str(folder / "state"), "--no-dashboard", "--plain"]
    with Watch(folder / "state") as seen:
        done = subprocess.run(command, env=environ, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the training failed: {done.stdout[-3000:]} {done.stderr[-3000:]}")
    return seen


def measure(given: argparse.Namespace, model_mb: int) -> dict[str, Any]:
    """Train twice, resume once; return the peaks in MB by program, those of the resume apart."""
    with tempfile.TemporaryDirectory(prefix="large-models-", dir=given.folder) as place:
        folder = Path(place)
        app = write_app(folder / "app")
        first = train(folder, app, given, model_mb, 2)
        again = train(folder, app, given, model_mb, 3)
    return {
        "model_mb": model_mb,
        **{role: round(peak / 1e6) for role, peak in sorted((first.memory | again.memory).items())},
        "serverapp": round(first.memory["serverapp"] / 1e6),
        "serverapp_resumed": round(again.memory["serverapp"] / 1e6),
        "together": round(first.together / 1e6),
        "disk": {name: round(size / 1e6) for name, size in (first.disk | again.disk).items()},
    }


def main() -> None:
    """Measure each size and print it beside the formulas."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--model-mb", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--arrays", type=int, default=10)
    parser.add_argument("--strategy", default="FedAvg")
    parser.add_argument("--streaming", choices=("auto", "YES", "NO"), default="auto")
    parser.add_argument("--folder", help="where to work, in place of a temporary folder in /tmp")
    given = parser.parse_args()
    results = []
    for model_mb in given.model_mb:
        results.append(measure(given, model_mb))
        print(results[-1], flush=True)
    print(json.dumps({"large_models": results, "clients": given.clients, "arrays": given.arrays}))


if __name__ == "__main__":
    main()
