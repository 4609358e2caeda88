"""Measure how a SuperNode with a key comes back after kill -9 in a round, with and without the workaround.

Two SuperNodes whose ClientApps work 12 s; one is killed after 4 s and started until the SuperLink takes it.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from oneflower.errors import ClusterError
from oneflower.flower.control import ControlClient
from oneflower.flower.fab import build_fab
from oneflower.flower.sockets import SOCKETS, socket_of
from oneflower.journal import Entry, read_journal
from oneflower.local_cluster.ports import free_ports
from oneflower.tls import (
    make_authority,
    make_node_key,
    make_server_certificate,
    write_certificates,
    write_private,
)

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "e2e")]

from numpy_app import write_numpy_app  # noqa: E402

HOST = "127.0.0.1"
WORK_S, KILLED_AFTER_S, PATIENCE_S = 12, 4, 180
LAUNCHER = """
import sys
from oneflower.flower import launch
from oneflower.flower.door import workarounds
others = [each for each in workarounds.WORKAROUNDS if each.name != "restarted-supernode"]
workarounds.WORKAROUNDS = tuple(others)
launch.main(sys.argv[1:])
"""
CONFIG: dict[str, bool | int | float | str] = {
    "num-server-rounds": 3,
    "min-fit-clients": 2,
    "min-available-clients": 2,
    "min-evaluate-clients": 0,
    "round-timeout": 200,
}


class Scene:
    """A SuperLink that takes the keys of two SuperNodes, and their processes."""

    def __init__(self, folder: Path, *, workaround: bool) -> None:
        now = datetime.now(UTC)
        authority = make_authority(now)
        ca = authority.certificate_pem()
        certificate, key = make_server_certificate(authority, [HOST], now)
        self.tls = write_certificates(folder / "tls", ca=ca, certificate=certificate, key=key)
        self.at = [f"{HOST}:{port}" for port in free_ports(5)]
        self.folder, self.journal = folder, folder / "journal.jsonl"
        keys = [make_node_key() for _ in range(2)]
        for index, (private, _) in enumerate(keys):
            write_private(folder / f"{index}.key", private)
        launcher = folder / "launch.py"
        launcher.write_text(LAUNCHER, encoding="utf-8")
        self.launch = [str(launcher)] if not workaround else ["-m", "oneflower.flower.launch"]
        self.environ = {
            **os.environ,
            "FLWR_TELEMETRY_ENABLED": "0",
            SOCKETS: str(folder / "s"),
            "FLWR_HOME": str(folder / "home"),
            "ONEFLOWER_JOURNAL": str(self.journal),
            "FL_NODE_KEYS": b"".join(public.pem for _, public in keys).decode(),
            "TEST_PAUSE_S": str(WORK_S),
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self.control = ControlClient(socket_of(folder / "s", self.at[1]))

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a program of Flower's in a session of its own."""
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, *self.launch, *arguments]
            process = subprocess.Popen(
                command, env=self.environ, stdout=log, stderr=log, start_new_session=True
            )
        self.processes.append(process)
        return process

    def superlink(self) -> None:
        """Start the SuperLink and wait until it answers."""
        tls = ["--ssl-ca-certfile", str(self.tls.ca), "--ssl-certfile", str(self.tls.certificate)]
        tls += ["--ssl-keyfile", str(self.tls.key), "--enable-supernode-auth"]
        places = ["--fleet-api-address", self.at[0], "--control-api-address", self.at[1]]
        places += ["--serverappio-api-address", self.at[2], "--database", str(self.folder / "state.db")]
        self.start("superlink", "superlink", *places, *tls)
        until(lambda: self.online() >= 0)

    def supernode(self, index: int) -> subprocess.Popen[bytes]:
        """Start a SuperNode with its key."""
        arguments = ["--superlink", self.at[0], "--root-certificates", str(self.tls.ca)]
        arguments += ["--clientappio-api-address", self.at[3 + index]]
        arguments += ["--auth-supernode-private-key", str(self.folder / f"{index}.key")]
        pairs = f"partition-id={index} num-partitions=2"
        return self.start(f"supernode-{index}", "supernode", *arguments, "--node-config", pairs)

    def online(self) -> int:
        """Return how many SuperNodes are online, -1 if the SuperLink does not answer."""
        try:
            return sum(node.online for node in self.control.nodes())
        except ClusterError:
            return -1

    def events(self, tag: str) -> list[Entry]:
        """Return the events of a kind so far."""
        return [entry for entry in read_journal(self.journal) if entry.event.tag == tag]

    def close(self) -> None:
        """End every process."""
        self.control.close()
        for process in self.processes:
            kill(process)


def measure(scene: Scene, app: Path) -> tuple[int, float, float]:
    """Return the refused starts, the seconds to the report of the loss, and to the end of the round.

    NaN for a loss that was not reported: its message was delivered again.
    """
    scene.superlink()
    victim, _ = scene.supernode(0), scene.supernode(1)
    until(lambda: scene.online() == 2)
    scene.control.submit(build_fab(app).content, CONFIG)
    until(lambda: scene.events("round_started"))
    time.sleep(KILLED_AFTER_S)
    began = time.time()
    kill(victim)
    victim, refused = scene.supernode(0), 0
    while not scene.events("round_completed"):
        if victim.poll() is not None:
            time.sleep(1)
            victim, refused = scene.supernode(0), refused + 1
        if time.time() - began > PATIENCE_S:
            raise SystemExit(f"no round was completed within {PATIENCE_S} s; see {scene.folder}")
        time.sleep(0.2)
    lost, complete = (
        moment(scene.events(tag)[0]) - began if scene.events(tag) else float("nan")
        for tag in ("client_failed", "round_completed")
    )
    return refused, lost, complete


def moment(entry: Entry) -> float:
    """Return when an event was written, in seconds since 1970."""
    return entry.time.timestamp() if entry.time is not None else float("nan")


def until(condition: Callable[[], Any]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {PATIENCE_S} s in vain")
        time.sleep(0.2)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and those of its session, and wait for it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def main() -> None:
    """Print both measurements."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print("workaround  refused starts  loss reported s  round complete s")
    for workaround in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            scene = Scene(Path(folder), workaround=workaround)
            try:
                refused, lost_s, complete_s = measure(scene, write_numpy_app(Path(folder) / "app"))
            finally:
                scene.close()
            print(
                f"{'with' if workaround else 'without':10}  {refused:14}  {lost_s:15.0f}  {complete_s:16.0f}"
            )


if __name__ == "__main__":
    main()
