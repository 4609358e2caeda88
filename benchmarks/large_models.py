"""Measure the memory and the disk of every process that handles a large model, beside what the formulas say.

``python benchmarks/large_models.py``                              2 clients, models of 100 and 500 MB
``python benchmarks/large_models.py --model-mb 1000 --arrays 1``   one model of 1 GB in a single array
``python benchmarks/large_models.py --model-mb 1000 --kill``       kill the server in a checkpoint

Each training runs under `oneflower up`: two rounds, then one more after a resume. The memory of a process is
VmHWM, the pages that it has had at once, those of files among them; of the SuperLink it is the memory without
files, because its database is mapped many times; of a node (the SuperNode with its executor and ClientApp) it
is the proportional set size. The disk is the largest size that a file has had.
The clients' training takes one array beside the model and the reply. The last line is JSON.

With --kill two rounds are trained under `oneflower up`, whose ServerApp and SuperLink get SIGKILL when a
share of the checkpoint of round 2 is written. The model must be that of a simulation that nothing disturbed.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from server_memory import write_app

from oneflower.aggregation import spec_of
from oneflower.capacity import (
    Load,
    checkpoints_bytes,
    database_bytes,
    replies_bytes,
    serverapp_bytes,
    superlink_bytes,
    supernode_bytes,
)
from oneflower.checkpoints.names import manifest_name, model_name, temporary
from oneflower.flower.programs import program_of
from oneflower.journal import read_journal, reduce
from oneflower.journal.events import TrainingResumed
from oneflower.local_cluster.processes import MARKER
from oneflower.procfs import PROC, Identity, command_line, parent_of, send, with_environment

LOOK_S: Final = 0.1
WRITE_LOOK_S: Final = 0.001
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
        roles = {pid: role_of(pid) for pid in pids}
        nodes, together = Counter[int](), 0
        for pid, role in roles.items():
            shared = field_of(pid, "Pss", "smaps_rollup")
            together += shared
            if (node := node_of(pid, roles)) is not None:
                nodes[node] += shared
            found = field_of(pid, "RssAnon" if role == "superlink" else "VmHWM")
            self.memory[role] = max(self.memory[role], found)
            if role == "serverapp":
                self.disk["replies"] = max(self.disk["replies"], unnamed_files(pid))
        self.memory["node"] = max(self.memory["node"], *nodes.values(), 0)
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


def node_of(pid: int, roles: Mapping[int, str]) -> int | None:
    """Return the SuperNode that a process belongs to: itself, or the next one above it."""
    above: int | None = pid
    while above is not None and above in roles:
        if roles[above] == "supernode":
            return above
        above = parent_of(above)
    return None


def field_of(pid: int, name: str, file: str = "status") -> int:
    """Return a number of kB from a file in /proc of a process, in bytes; 0 where there is none."""
    with suppress(OSError):
        found = re.search(rf"^{name}:\s+(\d+)", (PROC / str(pid) / file).read_text(), re.MULTILINE)
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


def environment(folder: Path, given: argparse.Namespace, model_mb: int, rounds: int) -> dict[str, str]:
    """Return the environment of a training."""
    return {
        **os.environ,
        "MEMORY_FILE": str(folder / "memory"),
        "MEMORY_VALUES": str(model_mb * MB // 4 // given.arrays),
        "MEMORY_ARRAYS": str(given.arrays),
        "FL_NUM_ROUNDS": str(rounds),
        "FL_ROUND_TIMEOUT": "3000",
        "FL_STREAMING_MEAN": given.streaming,
        "FL_STRATEGY": given.strategy,
        "FL_CHECKPOINT_ENABLED": "YES",
        "FL_CHECKPOINT_INTERVAL": "1",
        "FL_CHECKPOINT_KEEP": "2",
        "FL_MIN_FIT_CLIENTS": str(given.clients),
        "FL_MIN_AVAILABLE_CLIENTS": str(given.clients),
        "FL_MIN_EVALUATE_CLIENTS": "0",
    }


def command(name: str, *options: str) -> list[str]:
    """Return a command of oneflower."""
    return [sys.executable, "-m", "oneflower.cli.main", name, *options]


def up(folder: Path, app: Path, clients: int) -> list[str]:
    """Return the command that trains on processes."""
    options = ("--nodes", str(clients), "--app", str(app), "--state", str(folder / "state"))
    return command("up", *options, "--no-dashboard", "--plain")


def train(folder: Path, app: Path, given: argparse.Namespace, model_mb: int, rounds: int) -> Watch:
    """Train up to a round and return what was seen."""
    with Watch(folder / "state") as seen:
        finished(up(folder, app, given.clients), environment(folder, given, model_mb, rounds))
    return seen


def finished(arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    """Run a command to its end."""
    done = subprocess.run(arguments, env=environ, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{arguments[3]} failed: {done.stdout[-3000:]} {done.stderr[-3000:]}")


def kill_in_checkpoint(
    folder: Path, given: argparse.Namespace, model_mb: int, share: float
) -> dict[str, Any]:
    """Kill ServerApp and SuperLink when a share of the second checkpoint is written."""
    app = write_app(folder / "app")
    environ = environment(folder, given, model_mb, 2)
    place = folder / "simulated"
    options = ("--clients", str(given.clients), "--app", str(app), "--state", str(place), "--quiet")
    finished(command("simulate", *options), {**environ, "MEMORY_SIMULATED": "YES"})
    expected = sha256_of(place)
    shutil.rmtree(place)
    state = folder / "state"
    scratch = temporary(state / "checkpoints" / model_name(2))
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(up(folder, app, given.clients), env=environ, stdout=log, stderr=log)
        written = wait_for_share(process, scratch, share * model_mb * MB)
        for role in ("serverapp", "superlink"):
            for identity in processes_of(state, role):
                send(identity, signal.SIGKILL)
        torn = not (state / "checkpoints" / manifest_name(2)).exists()
        if process.wait():
            sys.exit((folder / "up.log").read_text()[-3000:])
    events = (entry.event for entry in read_journal(state / "journal.jsonl"))
    resumed = [event.round for event in events if isinstance(event, TrainingResumed)]
    return {
        "model_mb": model_mb,
        "written": round(written / model_mb / MB, 2),
        "inside": torn,
        "resumed_after": resumed,
        "sha256": sha256_of(state),
        "expected": expected,
        "same": sha256_of(state) == expected,
    }


def wait_for_share(process: subprocess.Popen[bytes], path: Path, least: float) -> int:
    """Wait until so many bytes of a file are written while a process runs; return how many there are."""
    while process.poll() is None:
        with suppress(FileNotFoundError):
            if (size := path.stat().st_size) >= least:
                return size
        time.sleep(WRITE_LOOK_S)
    return 0


def processes_of(state: Path, role: str) -> list[Identity]:
    """Return the processes of a cluster that run a program."""
    token = re.search(r'"token": "(\w+)"', (state / "processes.json").read_text())
    found = [] if token is None else with_environment(MARKER, token[1])
    return [identity for identity in found if program_of(command_line(identity.pid)) == role]


def sha256_of(state: Path) -> str:
    """Return the SHA-256 of the model of a finished training."""
    finish = reduce(read_journal(state / "journal.jsonl")).finish
    return "" if finish is None else finish.sha256


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


def formulas(given: argparse.Namespace, model_mb: int) -> dict[str, int]:
    """Return what the formulas say of such a training, in MB."""
    spec = spec_of(given.strategy)
    streaming = spec.streams and (given.streaming == "YES" or (given.streaming == "auto" and model_mb >= 68))
    load = Load(
        model_bytes=model_mb * MB,
        clients=given.clients,
        largest_array_bytes=model_mb * MB // given.arrays,
        streaming=streaming,
        moments=len(spec.init({"any": np.zeros(1, np.float32)})),
    )
    sizes = {
        "serverapp": serverapp_bytes(load),
        "serverapp_resumed": serverapp_bytes(load),
        "superlink": superlink_bytes(load),
        "node": supernode_bytes(load),
        "database": database_bytes(load),
        "replies": replies_bytes(load),
        "checkpoints": checkpoints_bytes(load, keep=2, there=0, to_come=3),
    }
    return {name: round(size / MB) for name, size in sizes.items()}


def tell(found: Mapping[str, Any], by_formula: Mapping[str, int]) -> None:
    """Print what was measured beside the formulas."""
    measured = {**found, **found["disk"]}
    for name, size in by_formula.items():
        print(f"{found['model_mb']:6} MB  {name:18} {measured.get(name, 0):8} MB  formula {size:8} MB")


def main() -> None:
    """Measure each size and print it beside the formulas."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--model-mb", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--arrays", type=int, default=10)
    parser.add_argument("--strategy", default="FedAvg")
    parser.add_argument("--streaming", choices=("auto", "YES", "NO"), default="auto")
    parser.add_argument("--kill", action="store_true", help="kill in the middle of a checkpoint instead")
    parser.add_argument("--share", type=float, default=0.5, help="how much of it is written by then")
    parser.add_argument("--folder", help="where to work, in place of a temporary folder in /tmp")
    given = parser.parse_args()
    results = []
    for model_mb in given.model_mb:
        if given.kill:
            with tempfile.TemporaryDirectory(prefix="large-models-", dir=given.folder) as folder:
                results.append(kill_in_checkpoint(Path(folder), given, model_mb, given.share))
            print(*(f"{name}: {value}" for name, value in results[-1].items()), sep="\n", flush=True)
            continue
        results.append(measure(given, model_mb))
        tell(results[-1], formulas(given, model_mb))
        sys.stdout.flush()
    print(json.dumps({"large_models": results, "clients": given.clients, "arrays": given.arrays}))


if __name__ == "__main__":
    main()
