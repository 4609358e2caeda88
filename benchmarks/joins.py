"""Compare the seconds a round of a training while uninvited clients try to join, and before and after.

``python benchmarks/joins.py [--per-second 200] [--seconds 60] [--json]``

A real `oneflower up` with node authentication trains a tiny model on three nodes. A process of its own then
asks to register a node, each time with another key, so many times a second. The rounds of before and after
are the comparison, in the same run.
"""

import argparse
import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.client.grpc_rere_client.node_auth_client_interceptor import NodeAuthClientInterceptor
from flwr.proto.fleet_pb2 import RegisterNodeFleetRequest
from flwr.proto.fleet_pb2_grpc import FleetStub
from flwr.supercore.primitives.asymmetric import public_key_to_bytes

from oneflower.journal import read_journal
from oneflower.local_cluster.ports import free_ports
from oneflower.settings import render_context

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from numpy_app import write_numpy_app  # noqa: E402

NODES = 3
KEYS = 16
START_S = 120.0


def flood(address: str, ca: bytes, per_second: float, seconds: float, answers: Any) -> None:
    """Ask to register so many nodes a second; put how often each answer came on the queue."""
    channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(ca))
    stubs = []
    for _ in range(KEYS):
        key = ec.generate_private_key(ec.SECP384R1())
        signed = grpc.intercept_channel(channel, NodeAuthClientInterceptor(key, key.public_key()))
        stubs.append((FleetStub(signed), public_key_to_bytes(key.public_key())))
    counted: Counter[str] = Counter()

    def join(number: int) -> None:
        stub, public = stubs[number % KEYS]
        try:
            stub.RegisterNode(RegisterNodeFleetRequest(public_key=public), timeout=10)
        except grpc.RpcError as error:
            counted[error.code().name] += 1
        else:
            counted["joined"] += 1

    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        number = 0
        while (elapsed := time.monotonic() - began) < seconds:
            while number < elapsed * per_second:
                pool.submit(join, number)
                number += 1
            time.sleep(0.01)
    counted["asked a second"] = round(number / (time.monotonic() - began))
    answers.put(dict(counted))


def completed(journal: Path) -> list[float]:
    """Return when each round was completed, in seconds since 1970."""
    entries = read_journal(journal) if journal.exists() else []
    return [
        entry.time.timestamp()
        for entry in entries
        if entry.event.tag == "round_completed" and entry.time is not None
    ]


def seconds_a_round(journal: Path, begin: float, end: float) -> list[float]:
    """Return how long each round took that was completed between two moments."""
    times = completed(journal)
    return [after - before for before, after in pairwise(times) if begin < after <= end]


def measure(folder: Path, per_second: float, seconds: float) -> dict[str, object]:
    """Train, flood in the middle third, and return the medians."""
    state, port = folder / "state", free_ports(1)[0]
    context = folder / "context.sh"
    variables = {
        "FL_NUM_ROUNDS": "100000",
        "FL_CHECKPOINT_ENABLED": "NO",
        "FL_NODE_AUTH": "YES",
        "FL_FLEET_API_ADDRESS": f"127.0.0.1:{port}",
    }
    context.write_text(render_context(variables))
    app = write_numpy_app(folder / "app")
    command = [sys.executable, "-m", "oneflower.cli.main", "up", "--context", str(context), "--app", str(app)]
    with (folder / "up.log").open("wb") as log:
        up = subprocess.Popen(
            [*command, "--state", str(state), "--nodes", str(NODES)],
            stdout=log,
            stderr=log,
            env={**os.environ, "TEST_PAUSE_S": "0.2"},
        )
    try:
        journal, deadline = state / "journal.jsonl", time.monotonic() + START_S
        while len(completed(journal)) < 3:
            if time.monotonic() > deadline or up.poll() is not None:
                raise SystemExit(f"the training did not start:\n{(folder / 'up.log').read_text()[-3000:]}")
            time.sleep(0.5)
        ca = next(state.rglob("ca*.pem")).read_bytes()
        marks = [time.time()]
        time.sleep(seconds)
        marks.append(time.time())
        answers: Any = multiprocessing.Queue()
        arguments = (f"127.0.0.1:{port}", ca, per_second, seconds, answers)
        attacker = multiprocessing.Process(target=flood, args=arguments)
        attacker.start()
        answered = answers.get(timeout=seconds + 60)
        attacker.join(10)
        marks.append(time.time())
        time.sleep(seconds)
        marks.append(time.time())
        quiet = seconds_a_round(journal, marks[0], marks[1]) + seconds_a_round(journal, marks[2], marks[3])
        attacked = seconds_a_round(journal, marks[1], marks[2])
    finally:
        with suppress(ProcessLookupError):
            up.send_signal(signal.SIGINT)
        up.wait(60)
    return {"answers": answered, "quiet": quiet, "attacked": attacked}


def main() -> None:
    """Print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--per-second", type=float, default=200.0, help="joins tried a second")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each of the three parts")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="joins-") as folder:
        found = measure(Path(folder), given.per_second, given.seconds)
    quiet_s, attacked_s = (statistics.median(found[name]) for name in ("quiet", "attacked"))
    print(f"answers: {found['answers']}")
    print(f"seconds a round: {quiet_s:.2f} undisturbed ({len(found['quiet'])} rounds), ", end="")
    print(f"{attacked_s:.2f} under {given.per_second:g} joins a second ({len(found['attacked'])} rounds)")
    ratio = round(attacked_s / quiet_s, 2)
    print(f"ratio: {ratio}")
    if given.json:
        print(json.dumps({"ratios": {"joins_to_undisturbed": ratio}}))


if __name__ == "__main__":
    main()
