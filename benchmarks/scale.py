"""Measure what rounds with many SuperNodes cost the SuperLink: processor time, memory, files and database.

``python benchmarks/scale.py --nodes 100 --rounds 3 --json``
``python benchmarks/scale.py --nodes 10,50,100,300,1000 --rounds 2``
``python benchmarks/scale.py --nodes 50 --stock``                Flower 1.25.0 without a change
``python benchmarks/scale.py --nodes 100 --minutes 60 --churn 60``
                                      a soak: each tenth node leaves after about a minute, and joins again

The SuperLink and the ServerApp are real processes of this machine. The nodes are light ones
(`light_nodes.py`): all calls of a SuperNode, and no app. A round is training and evaluation on all of them. A
call costs the processor time of the SuperLink during the rounds, divided by the calls of the nodes. The last
line is JSON, the last case's where there are several. The exit code is 1 where a reply was lost or a case
was not completed.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

from oneflower.codes import Task
from oneflower.errors import OneflowerError
from oneflower.flower.fab import build_fab
from oneflower.journal import read_journal
from oneflower.journal.events import ReplyReceived, RoundCompleted
from oneflower.local_cluster.commands import hosts
from oneflower.local_cluster.folder import StateFolder
from oneflower.local_cluster.local import ClusterOptions, LocalCluster
from oneflower.local_cluster.tls import Certificates, make_certificates
from oneflower.procfs import status_of, statuses
from oneflower.settings import resolve
from oneflower.settings.namespace import submitted

HERE = Path(__file__).parent
SWITCHED_OFF: Final = {"FL_FLOWER_WORKAROUNDS": "NO", "FL_WARM_EXECUTOR": "NO"}
PROJECT: Final = """
[project]
name = "light"
version = "1.0.0"
[tool.flwr.app]
publisher = "oneflower"
[tool.flwr.app.components]
serverapp = "light.server:app"
clientapp = "light.client:app"
[tool.flwr.app.config]
loop = "stock"
values = 0
arrays = 0
limit = 0
"""
TICKS: Final = os.sysconf("SC_CLK_TCK")
JOIN_S: Final = 300.0
IDLE_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One case. Seconds and megabytes; `lost` counts messages to nodes that stay without a valid reply.

    `completed` is whether all rounds were, or with `--minutes` any; `seconds_a_round` is None without one.
    """

    nodes: int
    lost: int
    completed: bool
    rounds: int
    seconds_a_round: float | None
    cpu_seconds_a_round: float
    ms_a_call: float
    calls_a_round: int
    rss_mb: float
    descriptors: int
    threads: int
    database_mb: float
    idle_cpu: float
    serverapp_cpu_seconds_a_round: float
    serverapp_mb: float
    slowest_heartbeat_s: float
    seconds_of_rounds: tuple[float, ...] = ()
    rss_mb_after_each_tenth: tuple[int, ...] = ()
    serverapp_mb_after_each_tenth: tuple[int, ...] = ()


def main() -> None:
    """Run the cases and print one line for each."""
    options, failed = parse(), False
    for nodes in map(int, options.nodes.split(",")):
        found = measure(nodes, options)
        print(line(found, options), flush=True)
        failed = failed or found.lost > 0 or not found.completed
    if options.json:
        print(json.dumps(asdict(found)))
    if failed:
        sys.exit(1)


def line(found: Result, options: argparse.Namespace) -> str:
    """Return one case as a line."""
    return ", ".join(
        (
            f"{'stock' if options.stock else 'ours'} {found.nodes:5} nodes: {found.rounds} rounds",
            f"lost {found.lost}",
            "no round completed"
            if found.seconds_a_round is None
            else f"{found.seconds_a_round:.1f} s a round",
            f"{found.cpu_seconds_a_round:.1f} CPU s",
            f"{found.ms_a_call:.2f} ms a call",
            f"idle {100 * found.idle_cpu:.1f} % of a core",
            f"{found.rss_mb:.0f} MB",
            f"{found.descriptors} files",
            f"{found.threads} threads",
            f"database {found.database_mb:.0f} MB",
            f"slowest heartbeat {found.slowest_heartbeat_s:.1f} s",
            f"ServerApp {found.serverapp_cpu_seconds_a_round:.1f} CPU s a round, {found.serverapp_mb:.0f} MB",
        )
    )


def measure(nodes: int, options: argparse.Namespace) -> Result:
    """Start a SuperLink and light nodes, train, and return what it took."""
    variables = {"FL_NODE_AUTH": "NO", **(SWITCHED_OFF if options.stock else {})}
    with tempfile.TemporaryDirectory(prefix="oneflower-scale-") as name:
        root = Path(name)
        folder = StateFolder(root / "state")
        folder.make()
        tls = make_certificates(folder.tls, hosts()) if options.tls else None
        settings = resolve(variables | {"FL_TLS_ENABLED": "YES" if tls else "NO"}).settings
        cluster = LocalCluster(
            folder, ClusterOptions(nodes=0, settings=settings, environ=os.environ, tls=tls)
        )
        cluster.start()
        try:
            with light_nodes(cluster.addresses.fleet, nodes, options, root, tls) as reports:
                wait_until_active(reports, nodes)
                return _train(cluster, folder, nodes, reports, options)
        finally:
            if options.keep:
                shutil.copytree(folder.root / "logs", options.keep, dirs_exist_ok=True)
            cluster.stop(grace_s=1.0)


def _train(
    cluster: LocalCluster, folder: StateFolder, nodes: int, reports: list[Path], options: argparse.Namespace
) -> Result:
    superlink, database = pid_of(folder), folder.superlink
    before = cpu_s(superlink)
    time.sleep(IDLE_S)
    idle = (cpu_s(superlink) - before) / IDLE_S
    calls, began = read_reports(reports)["calls"], cpu_s(superlink)
    app = build_fab(write_app(folder.root / "app"))
    run = cluster.control.submit(app.content, submitted(run_config(nodes, options), app.own))
    peak, watched = Counter[str](), list[dict[str, int]]()
    started = time.monotonic()
    ended = started + (60 * options.minutes or options.limit)
    while not (state := cluster.control.status(run)).finished and time.monotonic() < ended:
        watched.append(sample(superlink, database))
        for key, value in watched[-1].items():
            peak[key] = max(peak[key], value)
        time.sleep(1.0)
    took, used = time.monotonic() - started, cpu_s(superlink) - began
    time.sleep(3.0)
    entries = [each.event for each in read_journal(folder.journal)] if folder.journal.exists() else []
    rounds = [each for each in entries if isinstance(each, RoundCompleted) and each.round > 0]
    report = read_reports(reports)
    told, done = sum(each.seconds for each in rounds), len(rounds)
    ended_well = state.outcome == "completed"
    if options.stock:  # it has no journal
        told, done = took, options.rounds * ended_well
        lost = max(0, 2 * nodes * options.rounds - report["counts"]["replies"])
    else:
        counted = {each.round for each in rounds} if options.minutes else set(range(1, options.rounds + 1))
        lost = without_reply(entries, counted, report["staying"])
    if report["errors"]:
        print(f"  errors: {dict(report['errors'].most_common(6))}", file=sys.stderr)
    if state.finished and not ended_well:
        print(f"  the run ended: {state}\n{cluster.tails()[-2000:]}", file=sys.stderr)
    made = sum(report["calls"].values()) - sum(calls.values())
    return Result(
        nodes=nodes,
        lost=lost,
        completed=done > 0 and not state.finished if options.minutes else ended_well,
        rounds=done,
        seconds_a_round=told / done if done else None,
        cpu_seconds_a_round=used / max(1, done),
        ms_a_call=1000 * used / max(1, made),
        calls_a_round=made // max(1, done),
        rss_mb=peak["rss"] / 2**20,
        descriptors=peak["files"],
        threads=peak["threads"],
        database_mb=peak["database"] / 2**20,
        idle_cpu=idle,
        serverapp_cpu_seconds_a_round=peak["serverapp_cpu"] / TICKS / max(1, done),
        serverapp_mb=peak["serverapp_rss"] / 2**20,
        slowest_heartbeat_s=report["slowest"].get("SendNodeHeartbeat", 0.0),
        seconds_of_rounds=tuple(round(each.seconds, 1) for each in rounds),
        rss_mb_after_each_tenth=each_tenth(watched, "rss") if options.minutes else (),
        serverapp_mb_after_each_tenth=each_tenth(watched, "serverapp_rss") if options.minutes else (),
    )


def without_reply(events: list[Any], rounds: set[int], staying: list[str]) -> int:
    """Return how many messages of these rounds to nodes that stay have no valid reply."""
    replied = {(each.round, each.phase, each.client) for each in events if isinstance(each, ReplyReceived)}
    wanted = product(rounds, (Task.TRAIN, Task.EVALUATE), staying)
    return sum(each not in replied for each in wanted)


def each_tenth(watched: Sequence[Mapping[str, int]], name: str) -> tuple[int, ...]:
    """Return the megabytes after each tenth of the time, the last among them."""
    if not watched:
        return ()
    return tuple(watched[max(0, len(watched) * tenth // 10 - 1)][name] >> 20 for tenth in range(1, 11))


@contextmanager
def light_nodes(
    address: str, nodes: int, options: argparse.Namespace, root: Path, tls: Certificates | None
) -> Iterator[list[Path]]:
    """Run the nodes in a few processes for the time of a `with`; give the files of their reports."""
    share, processes = [nodes // options.processes] * options.processes, []
    share[0] += nodes % options.processes
    reports = [root / f"nodes-{number}.json" for number in range(options.processes)]
    first = 0
    for count, report in zip(share, reports, strict=True):
        command = [sys.executable, str(HERE / "light_nodes.py"), address, "--nodes", str(count)]
        command += ["--first", str(first), "--values", str(options.values), "--arrays", str(options.arrays)]
        command += ["--ca", str(tls.ca)] if tls else []
        if options.stock or options.stock_nodes:
            command += ["--signature-s", "0", "--single"]
        command += ["--work", str(options.work), "--churn", str(options.churn), "--report", str(report)]
        processes.append(subprocess.Popen(command))
        first += count
    try:
        yield reports
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(30)


def wait_until_active(reports: list[Path], nodes: int) -> None:
    """Wait until all nodes have joined."""
    until = time.monotonic() + JOIN_S
    while (active := read_reports(reports)["counts"]["active"]) < nodes:
        if time.monotonic() > until:
            sys.exit(f"{active} of {nodes} nodes have joined in {JOIN_S:.0f} s")
        time.sleep(0.5)


def read_reports(reports: list[Path]) -> dict[str, Any]:
    """Return the sums of the reports of all processes."""
    found: dict[str, Any] = {name: Counter() for name in ("counts", "calls", "errors")}
    slowest: dict[str, float] = {}
    staying: list[str] = []
    for path in reports:
        if path.exists():
            read = json.loads(path.read_text(encoding="utf-8"))
            for name, counter in found.items():
                counter.update(read[name])
            for name, seconds in read["slowest"].items():
                slowest[name] = max(seconds, slowest.get(name, 0.0))
            staying += read["staying"]
    return {**found, "slowest": slowest, "staying": staying}


def write_app(folder: Path) -> Path:
    """Write the benchmark's app."""
    shutil.copytree(HERE / "scale_app", folder)
    (folder / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    return folder


def run_config(nodes: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of the training."""
    needed = nodes if not options.churn else nodes * 8 // 10
    return {
        "loop": "stock" if options.stock else "ours",
        "values": options.values,
        "arrays": options.arrays,
        "limit": options.limit,
        "num-server-rounds": 1_000_000 if options.minutes else options.rounds,
        "min-fit-clients": needed,
        "min-evaluate-clients": needed,
        "min-available-clients": needed,
        "checkpoint-enabled": False,
        "round-timeout": int(options.limit),
    }


def pid_of(folder: StateFolder) -> int:
    """Return the process id of the SuperLink."""
    records = json.loads(folder.processes.read_text(encoding="utf-8"))["processes"]
    return int(records["superlink"]["pid"])


def cpu_s(pid: int) -> float:
    """Return the processor seconds of a process, all its threads together."""
    return _cpu_ticks(pid) / TICKS


def _cpu_ticks(pid: int) -> int:
    status = status_of(pid)
    return status.cpu_ticks if status else 0


def sample(superlink: int, database: Path) -> dict[str, int]:
    """Return what the SuperLink has now: bytes, files, threads; and its ServerApp."""
    found = {
        "rss": _status(superlink, "VmRSS:") << 10,
        "threads": _status(superlink, "Threads:"),
        "files": len(list(Path(f"/proc/{superlink}/fd").iterdir())),
        "database": sum(path.stat().st_size for path in database.rglob("*.db*")),
        "serverapp_cpu": 0,
        "serverapp_rss": 0,
    }
    for child in _descendants(superlink):
        try:
            if b"serverapp" in Path(f"/proc/{child}/cmdline").read_bytes():
                found["serverapp_cpu"] += _cpu_ticks(child)
                found["serverapp_rss"] += _status(child, "VmRSS:") << 10
        except (OSError, StopIteration):
            continue
    return found


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(each.split()[1]) for each in lines if each.startswith(name))


def _descendants(pid: int) -> list[int]:
    parents = {each.identity.pid: each.parent for each in statuses()}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {pid})


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, or other arguments."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--nodes", default="10,50,100")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--values", type=int, default=100_000, help="float32 values of the model")
    parser.add_argument("--arrays", type=int, default=4, help="arrays that hold them")
    parser.add_argument("--work", type=float, default=0.0, help="seconds that a node's training takes")
    parser.add_argument("--processes", type=int, default=2, help="processes of light nodes")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds after which a case ends")
    parser.add_argument(
        "--minutes",
        type=float,
        default=0.0,
        help="train for so long, however many rounds, whatever --limit is",
    )
    parser.add_argument("--churn", type=float, default=0.0, help="each tenth node stays for so many seconds")
    parser.add_argument("--stock", action="store_true", help="Flower without workarounds, its own rounds")
    parser.add_argument(
        "--stock-nodes", action="store_true", help="nodes that sign each call, and have one for each object"
    )
    parser.add_argument("--tls", action="store_true", help="speak TLS, as a deployment does by default")
    parser.add_argument("--keep", type=Path, help="copy the processes' logs to this folder")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        main()
    except OneflowerError as error:
        sys.exit(str(error))
