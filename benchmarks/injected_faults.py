"""Measure a round in which Flower loses a message, in stock Flower and with oneflower.

``python benchmarks/injected_faults.py [--faults B1,B2,B3,B4] [--timeout 120] [--json]``

Three rounds with three real SuperNodes; the fault is in the second, the other two show the usual time.

B1  a ClientApp is killed (kill -9) while it works
B2  a SuperNode asks for a part of a message that the ServerApp has not sent yet
B3  clients send an identical object at the same time
B4  the connection to a SuperNode is reset while the message is in transit

In stock Flower, a round that loses a message waits for its whole timeout: an hour by default, less here.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from oneflower.errors import ClusterError
from oneflower.flower.control import ControlClient
from oneflower.flower.fab import build_fab
from oneflower.flower.sockets import SOCKETS, socket_of
from oneflower.local_cluster.ports import free_ports

HERE = Path(__file__).parent
APP = HERE / "faults_app"
NODES = 3
SCRIPTS = Path(sys.executable).parent
LAUNCH = [sys.executable, "-P", "-m", "oneflower.flower.launch"]
START_S = 60.0
MESSAGE_BYTES = 300
"""An answer of the SuperLink's that is larger than this holds a message."""


def main() -> None:
    """Inject each fault on both sides and print the result of the round."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", default="B1,B2,B3,B4")
    parser.add_argument("--timeout", type=float, default=120.0, help="timeout of a round, in seconds")
    parser.add_argument("--json", action="store_true", help="end with one line of ratios")
    arguments = parser.parse_args()
    ratios = {}
    for fault in arguments.faults.split(","):
        seconds = {loop: measure(fault, loop, arguments.timeout) for loop in ("stock", "ours")}
        ratios[fault] = round(seconds["stock"] / seconds["ours"], 1)
    if arguments.json:
        print(json.dumps({"ratios": ratios}))


def measure(fault: str, loop: str, timeout_s: float) -> float:
    """Return the seconds of the round with the fault."""
    with tempfile.TemporaryDirectory(prefix="oneflower-faults-") as folder:
        results = Path(folder) / "results.jsonl"
        with federation(Path(folder), stock=loop == "stock", fault=fault) as control:
            config = {
                "loop": loop,
                "fault": fault,
                "nodes": NODES,
                "timeout": timeout_s,
                "results": str(results),
            }
            run_id = control.submit(build_fab(APP).content, config)
            wait(lambda: control.status(run_id).finished, 3 * timeout_s + START_S)
            outcome = control.status(run_id).outcome
        rounds = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    usual, faulty, after = (line["seconds"] for line in rounds)
    came = f"{rounds[1]['answers']} answers, {rounds[1]['errors']} errors"
    print(
        f"{fault} {loop:6} usual {usual:6.1f} s, with the fault {faulty:6.1f} s ({came}), "
        f"next round {after:6.1f} s; run {outcome}",
        flush=True,
    )
    return faulty


@contextmanager
def federation(folder: Path, *, stock: bool, fault: str) -> Iterator[ControlClient]:
    """Run a SuperLink and SuperNodes; the first SuperNode's connection can be reset."""
    fleet, control, serverappio, *nodes = (f"127.0.0.1:{port}" for port in free_ports(3 + NODES))
    flag = folder / "results.jsonl.fault"
    line = Line(fleet, flag if fault == "B4" else None)
    programs = {"superlink": ["flower-superlink"], "supernode": ["flower-supernode"]} if stock else {}
    environment = {**os.environ, "FLWR_HOME": str(folder / "flwr"), "FLWR_TELEMETRY_ENABLED": "0"}
    environment[SOCKETS] = str(folder / "sockets")
    environment["PATH"] = f"{SCRIPTS}{os.pathsep}{environment['PATH']}"
    processes = []

    def start(program: str, *arguments: str, **extra: str) -> None:
        command = [*programs.get(program, [*LAUNCH, program]), "--insecure", *arguments]
        with (folder / f"log-{len(processes)}").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env={**environment, **extra})
        processes.append(process)

    race = {"PYTHONPATH": str(APP), "ONEFLOWER_RACE_FLAG": str(flag)} if fault == "B3" else {}
    addresses = ("--fleet-api-address", fleet, "--control-api-address", control)
    database = ("--database", str(folder / "state.db"))
    client = ControlClient(control if stock else socket_of(folder / "sockets", control))
    try:
        start("superlink", *addresses, *database, "--serverappio-api-address", serverappio, **race)
        wait(lambda: answers(client), START_S)
        for index, address in enumerate(nodes):
            superlink = line.address if index == 0 else fleet
            config = ("--node-config", f"partition-id={index}", "--clientappio-api-address", address)
            start("supernode", "--superlink", superlink, *config)
        yield client
    finally:
        client.close()
        for process in processes:
            process.kill()
            process.wait()
        line.close()


def answers(client: ControlClient) -> bool:
    """Return whether the SuperLink answers."""
    with suppress(ClusterError):
        client.nodes()
        return True
    return False


def wait(condition: Callable[[], bool], timeout_s: float) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"nothing came of it in {timeout_s:.0f} s")
        time.sleep(0.1)


class Line:
    """Forward TCP; reset the connections once, at the first answer with a message after the flag was set."""

    def __init__(self, target: str, flag: Path | None) -> None:
        host, port = target.rsplit(":", 1)
        self._target = (host, int(port))
        self._flag = flag
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._ends += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        from_superlink = source.getpeername() == self._target
        with suppress(OSError):
            while data := source.recv(65536):
                if (
                    from_superlink
                    and len(data) > MESSAGE_BYTES
                    and self._flag is not None
                    and self._flag.exists()
                ):
                    self._flag = None
                    self.reset()
                    return
                sink.sendall(data)

    def reset(self) -> None:
        """Close every connection with a reset."""
        ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop listening and close all connections."""
        self._listener.close()
        self.reset()


if __name__ == "__main__":
    main()
