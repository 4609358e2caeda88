"""An own app on booted machines: by FL_APP, and by `flwr run`; each outlives a power cut of the SuperLink."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from hosts_watching import completed, events, failure_of, is_finished, is_ready, own_kind

from oneflower.journal import read_journal
from oneflower.opennebula.onegate.encoding import decode

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(1500)]
ALL_HOSTS = pytest.mark.skipif(
    "ONEFLOWER_ALL_HOSTS" not in os.environ,
    reason="minutes more: ONEFLOWER_ALL_HOSTS=1",
)

ROUNDS = 4
OPERATOR = {
    "FL_NUM_ROUNDS": str(ROUNDS),
    "FL_CHECKPOINT_ENABLED": "YES",
    "FL_CHECKPOINT_INTERVAL": "1",
    "FL_ROUND_TIMEOUT": "120",
    "FL_SEED": "7",
}
PYPROJECT = f"""
[project]
name = "own-app"
version = "1.0.0"
dependencies = ["flwr[simulation]>=1.20.0", "numpy"]

[tool.flwr.app]
publisher = "tests"

[tool.flwr.app.components]
serverapp = "own_app.server:app"
clientapp = "own_app.client:app"

[tool.flwr.app.config]
num-server-rounds = {ROUNDS}

[tool.flwr.federations]
default = "oneflower"

[tool.flwr.federations.oneflower]
address = "unix:/opt/flower/sockets/9093.sock"
insecure = true
"""
# No line of oneflower: the strategy is Flower's, random numbers come from the global generator.
STOCK_SERVER = """
import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAdam

app = ServerApp()


@app.main()
def main(grid, context):
    start = ArrayRecord({"w": Array(np.random.normal(size=8).astype(np.float32))})
    rounds = context.run_config["num-server-rounds"]
    FedAdam(min_available_nodes=2).start(grid=grid, initial_arrays=start, num_rounds=rounds)
"""
SDK_SERVER = """
import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp import ServerApp
from oneflower.sdk import train

app = ServerApp()


@app.main()
def main(grid, context):
    train(grid, context, ArrayRecord({"w": Array(np.ones(8, np.float32))}))
"""
CLIENT = """
import time
import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    time.sleep(2.0)
    w = message.content["arrays"]["w"].numpy()
    w = (0.9 * w + np.random.normal(size=w.size)).astype(np.float32)
    metrics = MetricRecord({"num-examples": 10 + int(context.node_config["partition-id"])})
    content = RecordDict({"arrays": ArrayRecord({"w": Array(w)}), "metrics": metrics})
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message, context):
    loss = float(np.abs(message.content["arrays"]["w"].numpy()).sum())
    metrics = MetricRecord({"num-examples": 10, "loss": loss})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
"""
SERVERS = {"stock": STOCK_SERVER, "sdk": SDK_SERVER}


def write_app(folder, kind):
    for name, text in (("server.py", SERVERS[kind]), ("client.py", CLIENT), ("__init__.py", "")):
        path = folder / "own_app" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def uninterrupted(app, folder):
    """Return the SHA-256 of the same training, never disturbed, in one process of this machine."""
    environ = {name: text for name, text in os.environ.items() if not name.startswith("FL_")}
    command = [sys.executable, "-m", "oneflower.cli.main", "simulate", "--quiet", "--clients", "2"]
    subprocess.run(
        [*command, "--app", str(app), "--state", str(folder)],
        env={**environ, **OPERATOR},
        check=True,
        timeout=300,
    )
    finishes = [entry.event for entry in read_journal(folder / "journal.jsonl")]
    return next(event.sha256 for event in finishes if event.tag == "training_finished")


def boot(hosts, wait):
    for host in hosts:
        host.boot()
        wait(f"{host.role} is READY", lambda host=host: is_ready(host), describe=lambda h=host: failure_of(h))


def submit_by_hand(link, app):
    """Run Flower's own command as a person does: the bundle knows nothing of oneflower."""
    shutil.copytree(app, link.file("/root/own-app"))
    environ = ["HOME=/root", "FLWR_TELEMETRY_ENABLED=0", "FLWR_HOME=/root/.flwr"]
    said = link.run(
        "/usr/bin/env",
        *environ,
        "/opt/oneflower/venv/bin/flwr",
        "run",
        "/root/own-app",
        "oneflower",
        timeout=300,
    )
    assert "uccess" in said, said


@own_kind
@pytest.mark.parametrize("kind", ["stock", pytest.param("sdk", marks=ALL_HOSTS)])
@pytest.mark.parametrize("way", ["FL_APP", "flwr run"])
def test_an_own_app_outlives_a_power_cut_with_the_same_bytes(lab, wait, tell, tmp_path, kind, way):
    app = write_app(tmp_path / "own-app", kind)
    expected = uninterrupted(app, tmp_path / "uninterrupted")
    tell(f"uninterrupted: sha256 {expected}")
    given = {"FL_APP": "/opt/flower/apps/own-app"} if way == "FL_APP" else {}
    link = lab.add("superlink", 10, **OPERATOR, **given)
    nodes = [lab.add("supernode", 11), lab.add("supernode", 12)]
    lab.start_onegate()
    if way == "FL_APP":
        shutil.copytree(app, link.file("/opt/flower/apps/own-app"))
    boot([link, *nodes], wait)
    if way == "flwr run":
        submit_by_hand(link, app)
        wait(
            "the run is adopted",
            lambda: [each for each in events(link, "run_submitted") if each.by == "person"],
            describe=lambda: failure_of(link),
        )
    wait("round 1 is complete", lambda: completed(link) >= 1, describe=lambda: failure_of(link))

    tell(f"POWER CUT of the superlink in round {completed(link) + 1}")
    link.kill()
    assert not events(link, "training_finished")
    link.boot()
    wait("OneGate says finished", lambda: is_finished(link), describe=lambda: failure_of(link))
    (finish,) = events(link, "training_finished")
    resumed = [event.round for event in events(link, "training_resumed")]
    tell(f"{way}, {kind}: resumed after round {resumed}, sha256 {finish.sha256}")
    assert resumed
    assert finish.round == ROUNDS
    assert finish.sha256 == expected


def write_wheel(folder):
    """Write a wheel of one module that no image has."""
    info = "own_wheel-1.0.dist-info"
    files = {
        "own_wheel.py": "STEP = 0.5\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: own-wheel\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "own_wheel-1.0-py3-none-any.whl", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"]))


@own_kind
def test_packages_come_from_wheels_on_every_machine_and_are_asked_for_before(lab, wait, tell, tmp_path):
    """Without the wheels FL_ERROR has the list; with them server and clients import the module."""
    app = write_app(tmp_path / "own-app", "sdk")
    project = (app / "pyproject.toml").read_text()
    (app / "pyproject.toml").write_text(project.replace('"numpy"]', '"numpy", "own-wheel>=1"]'))
    client = app / "own_app/client.py"
    client.write_text("from own_wheel import STEP\n" + client.read_text().replace("2.0", "STEP"))
    link = lab.add("superlink", 10, **{**OPERATOR, "FL_NUM_ROUNDS": "1"}, FL_APP="own-app")
    nodes = [lab.add("supernode", 11), lab.add("supernode", 12)]
    lab.start_onegate()
    shutil.copytree(app, link.file("/opt/flower/apps/own-app"))
    for node in nodes:
        write_wheel(node.file("/opt/flower/apps/wheels"))
    link.boot()
    wait(
        "FL_ERROR lists the package",
        lambda: (
            "own-wheel: wanted >=1, installed none"
            in decode("FL_ERROR", link.published().get("FL_ERROR", ""))
        ),
        describe=lambda: failure_of(link),
    )
    assert not events(link, "run_submitted")
    write_wheel(link.file("/opt/flower/apps/wheels"))
    link.kill()
    link.boot()
    wait("the SuperLink is READY", link.is_ready, describe=lambda: failure_of(link))
    boot(nodes, wait)
    wait("OneGate says finished", lambda: is_finished(link), describe=lambda: failure_of(link))
    tell(f"packages of the SuperLink: {link.run('ls', '/opt/flower/state/packages/current')}")


@own_kind
def test_an_app_that_is_not_there_yet_is_told_and_then_trained(lab, wait, tell, tmp_path):
    """FL_ERROR names what is missing; what is copied later is taken without a boot."""
    app = write_app(tmp_path / "own-app", "sdk")
    link = lab.add("superlink", 10, **OPERATOR, FL_APP="own-app")
    lab.start_onegate()
    link.boot()
    wait(
        "FL_STATE is failed",
        lambda: link.published().get("FL_STATE") == "failed" and "FL_ERROR" in link.published(),
        describe=lambda: failure_of(link),
    )
    wait("the journal names the app", lambda: link.says("FL_APP=own-app cannot be read"), timeout_s=60)
    shutil.copytree(app, link.file("/opt/flower/apps/own-app"))
    wait(
        "it is submitted",
        lambda: events(link, "run_submitted"),
        timeout_s=120,
        describe=lambda: failure_of(link),
    )
    wait(
        "the error is gone",
        lambda: (
            link.published().get("FL_STATE") in ("waiting", "training") and "FL_ERROR" not in link.published()
        ),
        describe=lambda: failure_of(link),
    )
