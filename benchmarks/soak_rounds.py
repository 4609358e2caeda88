"""Measure a cluster over time: memory and disk of a long training, processor time of an idle cluster.

``python benchmarks/soak_rounds.py large``  100 MB model, 3 nodes, 20 rounds: lost replies, memory, database
``python benchmarks/soak_rounds.py many``   no-op model, 2 nodes, 200 rounds: memory of every process
``python benchmarks/soak_rounds.py idle``   processor seconds per minute of an idle cluster, stock and ours
"""

import argparse
import json
import os
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rounds import SWITCHED_OFF, Case, cluster, read_trace, train

TICKS = os.sysconf("SC_CLK_TCK")
IDLE_S = 60.0
SETTLE_S = 45.0
LAUNCHER = "oneflower.flower.launch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """The resources that one process has used so far."""

    role: str
    part: str
    memory_mib: float
    cpu_s: float


def main() -> None:
    """Run the selected measurement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("large", "many", "idle"))
    parser.add_argument("--rounds", type=int, help="instead of 20 and 200")
    parser.add_argument("--json", action="store_true", help="end with one line of ratios")
    arguments = parser.parse_args()
    cases = {
        "large": Case(model="large", nodes=3, rounds=arguments.rounds or 20, megabytes=100),
        "many": Case(model="noop", nodes=2, rounds=arguments.rounds or 200),
    }
    ratios = idle() if arguments.what == "idle" else soak(cases[arguments.what])
    if arguments.json:
        print(json.dumps({"ratios": ratios}))


def soak(case: Case) -> dict[str, float]:
    """Train while memory and database are sampled; report two quarters and the lost replies."""
    with tempfile.TemporaryDirectory(prefix="oneflower-soak-") as folder:
        root = Path(folder)
        stop, samples = threading.Event(), []
        with cluster(root / "state", case.nodes, {}) as running:
            sampler = threading.Thread(target=_sample, args=(root / "state", stop, samples))
            sampler.start()
            try:
                train(running, case, "ours", root)
            finally:
                stop.set()
                sampler.join()
        events = read_trace(root / "trace.jsonl")
    pushed = {event["message"] for event in events if event["event"] == "pushed"}
    good = {event["message"] for event in events if event["event"] == "pulled" and not event["error"]}
    seconds = events[-1]["time"] - next(event["time"] for event in events if event["event"] == "pushed")
    print(
        f"{case.rounds} rounds, {seconds / case.rounds:.2f} s each; "
        f"{len(pushed - good)} of {len(pushed)} replies lost"
    )
    return {"lost_replies": float(len(pushed - good)), **_growth(samples)}


def _sample(state: Path, stop: threading.Event, samples: list[dict[str, float]]) -> None:
    while not stop.wait(0.5):
        sample: dict[str, float] = defaultdict(float)
        for use in uses(state):
            sample[f"{use.role} {use.part}"] += use.memory_mib
        sample["state.db with its log, MiB"] = _database_mib(state)
        samples.append(sample)


def _database_mib(state: Path) -> float:
    """Return the size of the database; its files exist only while connections are open."""
    total = 0
    for file in (state / "superlink").rglob("state.db*"):
        try:
            total += file.stat().st_size
        except FileNotFoundError:
            continue
    return total / 2**20


def _growth(samples: list[dict[str, float]]) -> dict[str, float]:
    """Print the peaks of the second and the last quarter; return last / second."""
    quarter = len(samples) // 4
    ratios = {}
    for name in sorted({name for sample in samples for name in sample}):
        early = max(sample.get(name, 0.0) for sample in samples[quarter : 2 * quarter])
        late = max(sample.get(name, 0.0) for sample in samples[-quarter:])
        print(f"{name:50} second quarter {early:8.1f} MiB, last quarter {late:8.1f} MiB")
        if early:
            ratios[name] = round(late / early, 2)
    return ratios


def idle() -> dict[str, float]:
    """Let clusters idle alternately; return our processor time divided by stock's."""
    spent: dict[str, float] = {"stock": 0.0, "ours": 0.0}
    for loop in ("stock", "ours", "stock", "ours"):
        with tempfile.TemporaryDirectory(prefix="oneflower-idle-") as folder:
            state = Path(folder) / "state"
            with cluster(state, 3, SWITCHED_OFF if loop == "stock" else {}):
                time.sleep(SETTLE_S)
                before = sum(use.cpu_s for use in uses(state))
                time.sleep(IDLE_S)
                used = sum(use.cpu_s for use in uses(state)) - before
        spent[loop] += used
        print(f"{loop:6} {used * 60 / IDLE_S:.2f} processor seconds per minute, 3 nodes", flush=True)
    return {"idle_cpu_ours_over_stock": round(spent["ours"] / spent["stock"], 2)}


def uses(state: Path) -> Iterator[Use]:
    """Return the resources of each process of a cluster, found by the session of its ancestor."""
    table = json.loads((state / "processes.json").read_text(encoding="utf-8"))["processes"]
    roles = {entry["pid"]: role for role, entry in table.items()}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
            status = (folder / "status").read_text(encoding="utf-8")
            command = (folder / "cmdline").read_bytes().decode().replace("\0", " ")
        except OSError:
            continue
        role = roles.get(int(stat[3]))
        if role is not None and command:
            part = _part(command.split())
            cpu_s = (int(stat[11]) + int(stat[12])) / TICKS
            yield Use(role=role, part=part, memory_mib=_anonymous_mib(status), cpu_s=cpu_s)


def _part(command: list[str]) -> str:
    """Return the program of a process: the launcher's, one of our modules, or the executable file."""
    if LAUNCHER in command:
        return command[command.index(LAUNCHER) + 1]
    if "-m" in command:
        return command[command.index("-m") + 1]
    return next(
        (Path(word).name for word in command if Path(word).name.startswith(("flower-", "flwr-"))), "?"
    )


def _anonymous_mib(status: str) -> float:
    """Return the private memory of a process, without the pages of a mapped database."""
    line = next((line for line in status.splitlines() if line.startswith("RssAnon:")), "RssAnon: 0 kB")
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
