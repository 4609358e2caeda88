"""Real SuperLinks and SuperNodes, stock and ours, and an app that writes down what came back."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from oneflower.errors import ClusterError
from oneflower.flower.control import ControlClient
from oneflower.flower.fab import build_fab
from oneflower.flower.sockets import SOCKETS, socket_of
from oneflower.local_cluster.tls import make_certificates
from oneflower.tls import ensure_node_key, make_authority, make_server_certificate, write_certificates

from ..recovery.own_ports import free_ports

WAIT_S = 120.0
LAUNCH = [sys.executable, "-P", "-m", "oneflower.flower.launch"]
SCRIPTS = Path(sys.executable).parent
MARKER = "ONEFLOWER_E2E_FLOWER"
PROJECT = """
[project]
name = "echo"
version = "1.0.0"
[tool.flwr.app]
publisher = "tests"
[tool.flwr.app.components]
serverapp = "echo:server"
clientapp = "echo:client"
[tool.flwr.app.config]
nodes = 1
rounds = 1
results = ""
act = ""
wait = 60.0
members = ""
"""
APP = '''
import json, os, pathlib, signal, time
import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

server = ServerApp()
client = ClientApp()


@server.main()
def main(grid, context):
    """Send each node one message a round, and write down what came back and after how many seconds."""
    config = context.run_config
    while len(nodes := sorted(grid.get_node_ids())) < config["nodes"]:
        time.sleep(0.1)
    for number in range(1, config["rounds"] + 1):
        arrays, about = ArrayRecord([np.arange(1000.0)]), ConfigRecord({"n": number})
        content = RecordDict({"arrays": arrays, "round": about})
        if config["members"]:
            members = [int(member) for member in config["members"].split()]
            content["config"] = ConfigRecord({"partition-members": members})
        started = time.monotonic()
        pending = set(grid.push_messages([Message(content, node, "train") for node in nodes]))
        while pending and time.monotonic() < started + config["wait"]:
            time.sleep(0.05)
            for reply in grid.pull_messages(list(pending)):
                pending.discard(reply.metadata.reply_to_message_id)
                error = reply.error if reply.has_error() else None
                seconds, node = time.monotonic() - started, reply.metadata.src_node_id
                note(config, round=number, node=node, seconds=seconds, error=error and error.code,
                     reason=error and error.reason, sum=None if error else reply.content["metrics"]["sum"])
        note(config, round=number, lost=len(pending))


def note(config, **fields):
    with open(config["results"], "a", encoding="utf-8") as file:
        file.write(json.dumps(fields) + "\\n")


@client.train()
def train(message, context):
    """Do what the run-config says in round 1 on partition 0, then answer."""
    results, partition = context.run_config["results"], context.node_config.get("partition-id")
    started = pathlib.Path(f"{results}.started-{partition}")
    again = started.exists()  # what was lost is sent again, and is not lost a second time
    started.write_text(str(os.getpid()))
    if message.content["round"]["n"] == 1 and partition == 0:
        act = context.run_config["act"]
        if act == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if act == "sleep" and not again:
            time.sleep(600)
        if act == "pause":
            time.sleep(3)
    metrics = MetricRecord({"sum": float(message.content["arrays"].to_numpy_ndarrays()[0].sum())})
    return Message(RecordDict({"metrics": metrics, "arrays": message.content["arrays"]}), reply_to=message)
'''


@dataclass
class Federation:
    """A SuperLink and SuperNodes; each may be stock or ours."""

    folder: Path
    processes: list = field(default_factory=list)

    def __post_init__(self):
        names = ("fleet", "control", "serverappio", *(f"node-{index}" for index in range(4)))
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.results = self.folder / "results.jsonl"
        self.marker = str(self.folder)
        app = self.folder / "app"
        app.mkdir()
        (app / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
        (app / "echo.py").write_text(APP, encoding="utf-8")
        self.fab = build_fab(app).content
        self.control = ControlClient(self.at("control"))
        self.tls, self.keys = None, {}

    def take_known_keys_only(self, *indexes):
        """Speak TLS from now on, and let only SuperNodes of these indexes join; call it before the start."""
        now = datetime.now(UTC)
        authority = make_authority(now)
        certificate, key = make_server_certificate(authority, ["127.0.0.1"], now)
        ca = authority.certificate_pem()
        self.tls = write_certificates(self.folder / "tls", ca=ca, certificate=certificate, key=key)
        self.keys = {index: ensure_node_key(self.folder / f"node-{index}.key")[0] for index in indexes}
        self.control.close()
        self.control = ControlClient(self.at("control"), ca)

    def at(self, name):
        return f"127.0.0.1:{self.ports[name]}"

    def socket(self, name):
        """Return the socket that our launcher makes for an API."""
        return socket_of(self.folder / "s", self.at(name))

    def certificates(self):
        return make_certificates(self.folder / "tls", ["127.0.0.1"])

    def superlink(self, *, stock=False, tls=None, public=False, **environ):
        command = [str(SCRIPTS / "flower-superlink")] if stock else [*LAUNCH, "superlink"]
        command += ["--database", str(self.folder / "state.db")]
        tls = tls or self.tls
        if tls is None:
            command += ["--insecure"]
        else:
            command += ["--ssl-ca-certfile", str(tls.ca), "--ssl-certfile", str(tls.certificate)]
            command += ["--ssl-keyfile", str(tls.key)]
        if self.tls is not None:
            command += ["--enable-supernode-auth"]
            environ["FL_NODE_KEYS"] = b"".join(key.pem for key in self.keys.values()).decode()
        for name in ("fleet", "control", "serverappio"):
            command += [f"--{name}-api-address", self.at(name)]
        if public:
            command += ["--control-api-address", f"0.0.0.0:{self.ports['control']}"]
        process = self._start(command, environ)
        private = not stock and environ.get("FL_FLOWER_WORKAROUNDS") != "NO"
        self.control.close()
        self.control = ControlClient(self.socket("control") if private else self.at("control"))
        self.until(self._answers)
        return process

    def supernode(self, index, *, stock=False, through=None, member=None, **environ):
        command = [str(SCRIPTS / "flower-supernode")] if stock else [*LAUNCH, "supernode"]
        command += ["--superlink", through or self.at("fleet")]
        command += ["--root-certificates", str(self.tls.ca)] if self.tls else ["--insecure"]
        if index in self.keys:
            command += ["--auth-supernode-private-key", str(self.folder / f"node-{index}.key")]
        command += ["--clientappio-api-address", self.at(f"node-{index}")]
        known_as = f" member-id={member}" if member else ""
        command += ["--node-config", f"partition-id={index}{known_as}"]
        return self._start(command, environ)

    def _start(self, command, environ):
        log = (self.folder / f"log-{len(self.processes)}").open("wb")
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={
                **os.environ,
                "FLWR_HOME": str(self.folder / "flwr"),
                SOCKETS: str(self.folder / "s"),
                "FLWR_TELEMETRY_ENABLED": "0",
                "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
                MARKER: self.marker,
                **environ,
            },
        )
        log.close()
        self.processes.append(process)
        return process

    def _answers(self):
        try:
            self.control.nodes()
        except ClusterError:
            return False
        return True

    def until(self, condition, seconds=WAIT_S):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.05)

    def submit(self, **config):
        return self.control.submit(self.fab, {"results": str(self.results), **config})

    def run(self, **config):
        """Run the app to its end; return the lines that it wrote."""
        self.finish(self.submit(**config))
        return self.lines()

    def finish(self, run_id):
        self.until(lambda: self.control.status(run_id).finished)
        state = self.control.status(run_id)
        assert state.outcome == "completed", f"{state}\n{self.logs()}"

    def lines(self):
        return [json.loads(line) for line in self.results.read_text(encoding="utf-8").splitlines()]

    def replies(self, number):
        return [line for line in self.lines() if line["round"] == number and "node" in line]

    def client_pid(self, partition):
        """Wait until a client has started; return its process."""
        started = Path(f"{self.results}.started-{partition}")
        self.until(lambda: started.exists() and started.read_text())
        return int(started.read_text())

    def alive(self):
        """List every process of this federation, with its command."""
        found = {}
        wanted = f"{MARKER}={self.marker}".encode()
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return {pid: command for pid, command in found.items() if command}

    def logs(self):
        return "\n".join(
            path.read_text(errors="replace")[-3000:] for path in sorted(self.folder.glob("log-*"))
        )

    def stop(self):
        self.control.close()
        for process in self.processes:
            process.kill()
            process.wait()
        self.until(lambda: not [os.kill(pid, signal.SIGKILL) for pid in self.alive()], 30)


@pytest.fixture
def federation(tmp_path):
    made = Federation(tmp_path)
    yield made
    made.stop()
