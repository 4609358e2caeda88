"""Run the training of `peers.py` by a SuperLink and three SuperNodes of stock Flower, as its guide says.

``python run.py FOLDER``: the Flower of this Python's environment. 1.25.0 speaks gRPC on several ports and
finds its SuperLink in pyproject.toml; the newest speaks HTTP on one port, which FLWR_HOME/config.toml names.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

HOST = "127.0.0.1"
NODES, LONGEST_S = 3, 900.0
SCRIPTS = Path(sys.executable).parent
IS_OLD = version("flwr") == "1.25.0"


def free_ports(count: int) -> list[int]:
    """Return free ports of the loopback interface."""
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start(folder: Path, name: str, *options: str) -> subprocess.Popen[bytes]:
    """Start a program of Flower with a log."""
    with (folder / f"{options[-1]}.log").open("wb") as log:
        command = [str(SCRIPTS / name), "--insecure", *options[:-1]]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)


def start_all(folder: Path, ports: list[int]) -> tuple[list[subprocess.Popen[bytes]], str]:
    """Start the SuperLink and the SuperNodes; return them and the address for commands."""
    fleet, control, appio, *ours = (f"{HOST}:{port}" for port in ports)
    link = [
        "--fleet-api-address",
        fleet,
        "--control-api-address",
        control,
        "--serverappio-api-address",
        appio,
    ]
    if not IS_OLD:
        link, control = ["--port", str(ports[0]), "--disable-runtime-dependency-installation"], fleet
    processes = [start(folder, "flower-superlink", *link, "superlink")]
    for index, address in enumerate(ours):
        api = ["--clientappio-api-address", address] if IS_OLD else ["--port", address.rpartition(":")[2]]
        node = [*api, "--superlink", fleet, "--node-config", f"partition-id={index} num-partitions={NODES}"]
        processes.append(start(folder, "flower-supernode", *node, f"supernode-{index}"))
    return processes, control


def write_app(folder: Path, control: str) -> Path:
    """Copy the app, and say where the SuperLink listens, in the way of the version."""
    app = folder / "app"
    shutil.copytree(Path(__file__).parent, app, ignore=shutil.ignore_patterns("run.py", "__pycache__"))
    entry = f'address = "{control}"\ninsecure = true\n'
    if IS_OLD:
        with (app / "pyproject.toml").open("a") as file:
            file.write(
                f'\n[tool.flwr.federations]\ndefault = "here"\n\n[tool.flwr.federations.here]\n{entry}'
            )
    else:
        home = Path(os.environ["FLWR_HOME"])
        home.mkdir(parents=True, exist_ok=True)
        (home / "config.toml").write_text(f'[superlink]\ndefault = "here"\n\n[superlink.here]\n{entry}')
    return app


def submit(folder: Path, app: Path, control: str, until: float) -> None:
    """Submit the app, as soon as the SuperLink listens."""
    host, _, port = control.rpartition(":")
    while time.monotonic() < until:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
            break
        except OSError:
            time.sleep(0.1)
    with (folder / "run.log").open("wb") as log:
        command = [str(SCRIPTS / "flwr"), "run", str(app), "here"]
        subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT, timeout=120, cwd=folder)


def main() -> None:
    """Train until the ServerApp has written its model."""
    folder = Path(sys.argv[1])
    until = time.monotonic() + LONGEST_S
    processes, control = start_all(folder, free_ports(3 + NODES))
    try:
        submit(folder, write_app(folder, control), control, until)
        while not (folder / "finished").exists():
            if time.monotonic() > until or any(each.poll() is not None for each in processes):
                sys.exit(f"no model: read the logs in {folder}")
            time.sleep(0.05)
    finally:
        for each in reversed(processes):
            each.terminate()
        for each in processes:
            try:
                each.wait(20)
            except subprocess.TimeoutExpired:
                each.kill()


if __name__ == "__main__":
    main()
