"""Measure a round of the demo with and without the decoded data that a client keeps (FL_DATA_CACHE).

``python benchmarks/decoded_data.py``                        MNIST-5k, 3 nodes, two turns of each kind
``python benchmarks/decoded_data.py --turns 1 --rounds 3``

Trainings alternate on one machine. Seconds are those of the median round. Processor seconds of a round are
what a training of several rounds takes beyond one of a single round, divided by the rounds between: all
processes count. The SHA-256 of all models must be the same. The last line is a JSON object.
"""

import argparse
import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from oneflower.journal import read_journal
from oneflower.journal.events import RoundCompleted

NODES = 3
CONTEXT = Path(__file__).parents[1] / "examples" / "demo" / "context.sh"
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training: the seconds of its rounds, the processor seconds of all its processes, its model."""

    rounds: list[float]
    cpu_s: float
    model: bytes


def train(folder: Path, *, cache: str, rounds: int) -> Training:
    """Train once with `oneflower up`."""
    environ = {**os.environ, "FL_DATA_CACHE": cache, "FL_NUM_ROUNDS": str(rounds)}
    command = [sys.executable, "-m", "oneflower.cli.main", "up", "--nodes", str(NODES)]
    command += ["--context", str(CONTEXT), "--state", str(folder), "--no-dashboard", "--plain"]
    before = cpu_s()
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with suppress(ChildProcessError):
        while True:  # processes that their parents have not waited for
            os.waitpid(-1, 0)
    entries = read_journal(folder / "journal.jsonl")
    return Training(
        rounds=[entry.event.seconds for entry in entries if isinstance(entry.event, RoundCompleted)],
        cpu_s=cpu_s() - before,
        model=(folder / "checkpoints" / f"checkpoint_round_{rounds}.npz").read_bytes(),
    )


def cpu_s() -> float:
    """Return the processor seconds of all processes below this one that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Train alternately and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=2)
    given = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    seconds: dict[str, list[float]] = {"YES": [], "NO": []}
    cpu: dict[str, list[float]] = {"YES": [], "NO": []}
    models = set()
    with tempfile.TemporaryDirectory() as place:
        for turn in range(given.turns):
            for cache in ("NO", "YES"):
                one = train(Path(place, f"{turn}-{cache}-1"), cache=cache, rounds=1)
                many = train(Path(place, f"{turn}-{cache}"), cache=cache, rounds=given.rounds)
                seconds[cache] += many.rounds[1:]
                cpu[cache].append((many.cpu_s - one.cpu_s) / (given.rounds - 1))
                models.add(many.model)
                print(
                    f"FL_DATA_CACHE={cache:<4} {median(many.rounds[1:]):6.2f} s a round, "
                    f"{cpu[cache][-1]:6.2f} processor seconds",
                    flush=True,
                )
    if len(models) != 1:
        sys.exit("the models differ")
    found = {
        "seconds": {cache: round(median(values), 3) for cache, values in seconds.items()},
        "cpu_seconds": {cache: round(median(values), 3) for cache, values in cpu.items()},
        "ratio": round(median(seconds["NO"]) / median(seconds["YES"]), 3),
        "cpu_ratio": round(median(cpu["NO"]) / median(cpu["YES"]), 3),
    }
    print(f"a round takes {found['ratio']} times as long without kept data; the models are the same")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
