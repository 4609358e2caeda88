"""Does a round cost the same after thousands of rounds: time, processor time and memory of a long training.

``python benchmarks/many_rounds.py``                      10,000 rounds of `oneflower simulate`, each saved
``python benchmarks/many_rounds.py --interval 10``        a checkpoint every 10th round
``python benchmarks/many_rounds.py --keep 0``             every checkpoint is kept

The model is tiny, so that what is measured is what the rounds leave behind. Each part of the training is a
hundred rounds; the ratios compare the last with the first, and the memory at the end with that at a tenth.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

from oneflower.journal import read_journal

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "e2e"))
PART = 100
WARM_UP = 20
SAMPLE_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the process had used by a moment."""

    time: float
    memory_mib: float
    cpu_s: float


def main() -> None:
    """Train, and print the parts and the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--interval", type=int, default=1)
    parser.add_argument("--keep", type=int, default=3)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="end with one line that holds the ratios")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="oneflower-rounds-") as folder:
        ended, samples = train(Path(folder), given)
    ratios = report(ended, samples)
    if given.json:
        print(json.dumps({"ratios": ratios}))


def train(folder: Path, given: argparse.Namespace) -> tuple[dict[int, float], list[Sample]]:
    """Run the training; return when each round ended, and samples of its process."""
    from conftest import write_numpy_app

    variables = {
        "FL_NUM_ROUNDS": given.rounds,
        "FL_CHECKPOINT_ENABLED": "YES",
        "FL_CHECKPOINT_INTERVAL": given.interval,
        "FL_CHECKPOINT_KEEP": given.keep,
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FL_")}
    environment |= {name: str(value) for name, value in variables.items()}
    command = [sys.executable, "-m", "oneflower.cli.main", "simulate", "--clients", str(given.clients)]
    command += ["--app", str(write_numpy_app(folder / "app")), "--state", str(folder / "state"), "--quiet"]
    process = subprocess.Popen(command, env=environment)
    stop, samples = threading.Event(), []
    sampler = threading.Thread(target=_sample, args=(process.pid, stop, samples))
    sampler.start()
    try:
        if process.wait():
            sys.exit(f"the training ended with {process.returncode}")
    finally:
        process.kill()
        stop.set()
        sampler.join()
    events = read_journal(folder / "state" / "journal.jsonl")
    ended = {
        event["round"]: datetime.fromisoformat(event["time"]).timestamp()
        for event in events
        if event["event"] == "round_completed"
    }
    return ended, samples


def _sample(pid: int, stop: threading.Event, samples: list[Sample]) -> None:
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGESIZE")
    while not stop.wait(SAMPLE_S):
        try:
            words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:
            return
        used = (int(words[11]) + int(words[12])) / tick
        samples.append(Sample(time=time.time(), memory_mib=int(words[21]) * page / 2**20, cpu_s=used))


def report(ended: dict[int, float], samples: list[Sample]) -> dict[str, float]:
    """Print the parts of a training and return the ratios of its end to its beginning."""
    rounds, last = sorted(ended), max(ended)
    print(f"{'rounds':>15}  {'ms a round':>10}  {'CPU ms a round':>14}  {'memory MiB':>10}")
    shown = sorted({WARM_UP, *range(last // 10, last - PART + 1, max(1, last // 10)), last - PART})
    for first in shown:
        wall, cpu, memory = _part(ended, samples, first)
        print(f"{first + 1:>7}-{first + PART:<7}  {1000 * wall:>10.2f}  {1000 * cpu:>14.2f}  {memory:>10.1f}")
    early, late = _part(ended, samples, WARM_UP), _part(ended, samples, last - PART)
    tenth = _part(ended, samples, max(WARM_UP, last // 10))
    steady = [b - a for a, b in zip(map(ended.get, rounds), map(ended.get, rounds[1:]), strict=False)]
    print(f"median of all rounds {1000 * median(steady):.2f} ms")
    ratios = {
        "time_last_100_to_first_100": late[0] / early[0],
        "cpu_last_100_to_first_100": late[1] / early[1],
        "memory_end_to_a_tenth": late[2] / tenth[2],
        "memory_bytes_a_round": (late[2] - tenth[2]) * 2**20 / (last - last // 10),
    }
    for name, ratio in ratios.items():
        print(f"{name:<28} {ratio:8.2f}")
    return ratios


def _part(ended: dict[int, float], samples: list[Sample], first: int) -> tuple[float, float, float]:
    """Return seconds, processor seconds and memory of the rounds after `first`; both a round."""
    begin, end = ended[first], ended[first + PART]
    inside = [sample for sample in samples if begin <= sample.time <= end] or samples[-1:]
    cpu = (_cpu_at(samples, end) - _cpu_at(samples, begin)) / PART
    return (end - begin) / PART, cpu, median(sample.memory_mib for sample in inside)


def _cpu_at(samples: list[Sample], moment: float) -> float:
    """Return the processor seconds used by a moment, between the samples around it."""
    before = max((s for s in samples if s.time <= moment), key=lambda s: s.time, default=samples[0])
    after = min((s for s in samples if s.time > moment), key=lambda s: s.time, default=samples[-1])
    if after.time == before.time:
        return before.cpu_s
    share = (moment - before.time) / (after.time - before.time)
    return before.cpu_s + min(1.0, max(0.0, share)) * (after.cpu_s - before.cpu_s)


if __name__ == "__main__":
    main()
