"""Check that a round costs the same after thousands of rounds: time, processor time, memory.

``python benchmarks/many_rounds.py``                      10,000 rounds of `oneflower simulate`, each saved
``python benchmarks/many_rounds.py --interval 10``        a checkpoint every 10th round
``python benchmarks/many_rounds.py --keep 0``             every checkpoint is kept

The model is tiny, so that only the cost of earlier rounds is measured. The speed of a shared machine
changes within an hour. So the last hundred rounds are compared with the first ones side by side: a new
training and the long one, which resumes, alternate, and the median ratio counts.
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
from itertools import pairwise
from pathlib import Path
from statistics import median

from oneflower.journal import read_journal
from oneflower.journal.events import RoundCompleted

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "e2e"))
PART = 100
WARM_UP = 20
SAMPLE_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The resources that the process had used at a moment."""

    time: float
    memory_mib: float
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The end time of each round of a training, and samples of its process."""

    ended: dict[int, float]
    samples: list[Sample]

    def part(self, first: int, count: int = PART) -> tuple[float, float, float]:
        """Return seconds and processor seconds a round, and memory, of the rounds after `first`.

        Seconds are medians: one round that waits for the disk does not count.
        """
        moments = [self.ended[number] for number in range(first, first + count + 1)]
        inside = [s for s in self.samples if moments[0] <= s.time <= moments[-1]] or self.samples[-1:]
        cpu = (_cpu_at(self.samples, moments[-1]) - _cpu_at(self.samples, moments[0])) / count
        wall = median(later - earlier for earlier, later in pairwise(moments))
        return wall, cpu, median(sample.memory_mib for sample in inside)


def main() -> None:
    """Train; print the parts and the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--interval", type=int, default=1)
    parser.add_argument("--keep", type=int, default=3)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument(
        "--turns", type=int, default=7, help="how often the new and the long training alternate"
    )
    parser.add_argument("--json", action="store_true", help="end with one line of ratios")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="oneflower-rounds-") as folder:
        ratios = measure(Path(folder), given)
    if given.json:
        print(json.dumps({"ratios": ratios}))


def measure(folder: Path, given: argparse.Namespace) -> dict[str, float]:
    """Run the long training, then alternate; print the parts and return the ratios."""
    from numpy_app import write_numpy_app

    app = write_numpy_app(folder / "app")
    whole = train(app, folder / "long", given.rounds, given)
    print(f"{'rounds':>15}  {'ms a round':>10}  {'CPU ms a round':>14}  {'memory MiB':>10}")
    last, step = given.rounds, max(PART, given.rounds // 10)
    for first in sorted({WARM_UP, *range(step, last - PART, step), last - PART}):
        wall, cpu, memory = whole.part(first)
        print(f"{first + 1:>7}-{first + PART:<7}  {1000 * wall:>10.2f}  {1000 * cpu:>14.2f}  {memory:>10.1f}")
    walls, cpus = [], []
    for turn in range(given.turns):
        fresh = train(app, folder / f"new-{turn}", WARM_UP + PART, given).part(WARM_UP)
        begin = last + turn * (WARM_UP + PART)
        late = train(app, folder / "long", begin + WARM_UP + PART, given).part(begin + WARM_UP)
        walls.append(late[0] / fresh[0])
        cpus.append(late[1] / fresh[1])
        print(f"turn {turn + 1}: after {begin} rounds {1000 * late[0]:.2f} ms, new {1000 * fresh[0]:.2f} ms")
    tenth, end = whole.part(max(WARM_UP, last // 10))[2], whole.part(last - PART)[2]
    ratios = {
        "time_last_100_to_first_100": median(walls),
        "cpu_last_100_to_first_100": median(cpus),
        "memory_end_to_a_tenth": end / tenth,
    }
    for name, ratio in ratios.items():
        print(f"{name:<28} {ratio:8.2f}")
    return ratios


def train(app: Path, state: Path, rounds: int, given: argparse.Namespace) -> Trained:
    """Train up to a round, starting from the state folder."""
    variables = {
        "FL_NUM_ROUNDS": rounds,
        "FL_CHECKPOINT_ENABLED": "YES",
        "FL_CHECKPOINT_INTERVAL": given.interval,
        "FL_CHECKPOINT_KEEP": given.keep,
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FL_")}
    environment |= {name: str(value) for name, value in variables.items()}
    command = [sys.executable, "-m", "oneflower.cli.main", "simulate", "--clients", str(given.clients)]
    command += ["--app", str(app), "--state", str(state), "--quiet"]
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
    entries = read_journal(state / "journal.jsonl")
    ended = {
        entry.event.round: entry.time.timestamp()
        for entry in entries
        if isinstance(entry.event, RoundCompleted) and entry.time is not None
    }
    return Trained(ended=ended, samples=samples)


def _sample(pid: int, stop: threading.Event, samples: list[Sample]) -> None:
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGESIZE")
    while not stop.wait(SAMPLE_S):
        try:
            words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:
            return
        used = (int(words[11]) + int(words[12])) / tick
        samples.append(Sample(time=time.time(), memory_mib=int(words[21]) * page / 2**20, cpu_s=used))


def _cpu_at(samples: list[Sample], moment: float) -> float:
    """Return the processor seconds used at a moment, interpolated between samples."""
    before = max((s for s in samples if s.time <= moment), key=lambda s: s.time, default=samples[0])
    after = min((s for s in samples if s.time > moment), key=lambda s: s.time, default=samples[-1])
    if after.time == before.time:
        return before.cpu_s
    share = (moment - before.time) / (after.time - before.time)
    return before.cpu_s + min(1.0, max(0.0, share)) * (after.cpu_s - before.cpu_s)


if __name__ == "__main__":
    main()
