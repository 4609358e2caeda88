"""Measure the peak memory of the ServerApp under `oneflower up`, in models: with the streaming mean or not.

``python benchmarks/server_memory.py``                        10 clients, a model of 50 MB in arrays of 10 MB
``python benchmarks/server_memory.py --model-mb 500 --array-mb 50 --only YES``

The number is VmHWM of the process that runs the ServerApp: all pages that it has had at once, those of files
among them. Clients train one at a time, on numbers that take no time, so that the machine has to hold little
else. The last line is JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

PYPROJECT: Final = """
[project]
name = "memory-app"
version = "1.0.0"

[tool.flwr.app]
publisher = "benchmarks"

[tool.flwr.app.components]
serverapp = "memory_app.server:app"
clientapp = "memory_app.client:app"
"""
SERVER: Final = """
import os
from pathlib import Path
import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp import ServerApp
from oneflower.sdk import train

app = ServerApp()
VALUES, ARRAYS = int(os.environ["MEMORY_VALUES"]), int(os.environ["MEMORY_ARRAYS"])


def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


@app.main()
def main(grid, context):
    before = status("VmRSS")
    start = ArrayRecord({f"w{i}": Array(np.zeros(VALUES, np.float32)) for i in range(ARRAYS)})
    train(grid, context, start)
    Path(os.environ["MEMORY_FILE"]).write_text(f"{before} {status('VmHWM')}")
"""
CLIENT: Final = """
import fcntl
import os
import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()
CLEARS = "MEMORY_SIMULATED" not in os.environ  # in a simulation clients share the message


@app.train()
def train(message, context):
    arrays = message.content["arrays"]
    partition = context.node_config["partition-id"]
    with open(os.environ["MEMORY_FILE"] + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = {}
        rng = np.random.default_rng([partition, message.content["config"]["server-round"]])
        for name in list(arrays):
            before = arrays.pop(name).numpy() if CLEARS else arrays[name].numpy()
            values = rng.random(before.shape, np.float32)  # equal chunks would travel once
            values += before
            del before
            made[name] = Array(values)
            del values
    metrics = MetricRecord({"num-examples": 100 + partition})
    return Message(RecordDict({"arrays": ArrayRecord(made), "metrics": metrics}), reply_to=message)
"""


def write_app(folder: Path) -> Path:
    """Write the app into a new folder."""
    (folder / "memory_app").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "memory_app" / "server.py").write_text(SERVER)
    (folder / "memory_app" / "client.py").write_text(CLIENT)
    return folder


def measure(
    folder: Path, *, clients: int, model_mb: int, array_mb: int, rounds: int, streaming: str
) -> Mapping[str, float]:
    """Train once; return the process's memory before the model was there and its peak, in MB."""
    app, found = write_app(folder / "app"), folder / "memory"
    environ = {
        **os.environ,
        "MEMORY_FILE": str(found),
        "MEMORY_VALUES": str(array_mb * 1_000_000 // 4),
        "MEMORY_ARRAYS": str(model_mb // array_mb),
        "FL_NUM_ROUNDS": str(rounds),
        "FL_STREAMING_MEAN": streaming,
        "FL_CHECKPOINT_ENABLED": "YES",
        "FL_MIN_FIT_CLIENTS": str(clients),
        "FL_MIN_AVAILABLE_CLIENTS": str(clients),
        "FL_MIN_EVALUATE_CLIENTS": "0",
    }
    command = [sys.executable, "-m", "oneflower.cli.main", "up", "--nodes", str(clients), "--app", str(app)]
    command += ["--state", str(folder / "state"), "--no-dashboard", "--plain"]
    done = subprocess.run(command, env=environ, check=False, capture_output=True, text=True)
    if done.returncode or not found.exists():
        sys.exit(f"the training failed: {done.stdout[-2000:]} {done.stderr[-2000:]}")
    before_kb, peak_kb = map(int, found.read_text().split())
    return {"before_mb": before_kb * 1024 / 1e6, "peak_mb": peak_kb * 1024 / 1e6}


def main() -> None:
    """Train with each setting and print the peaks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--model-mb", type=int, default=50)
    parser.add_argument("--array-mb", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", choices=("YES", "NO"), help="one setting of FL_STREAMING_MEAN")
    given = parser.parse_args()
    results: dict[str, Any] = {}
    for streaming in (given.only,) if given.only else ("YES", "NO"):
        with tempfile.TemporaryDirectory(dir=os.environ.get("MEMORY_FOLDER")) as folder:
            found = measure(
                Path(folder),
                clients=given.clients,
                model_mb=given.model_mb,
                array_mb=given.array_mb,
                rounds=given.rounds,
                streaming=streaming,
            )
        beyond = (found["peak_mb"] - 200) / given.model_mb
        results[streaming] = {**found, "models_beyond_200_mb": round(beyond, 2)}
        print(
            f"FL_STREAMING_MEAN={streaming}: {given.clients} clients of {given.model_mb} MB: peak "
            f"{found['peak_mb']:.0f} MB, {found['before_mb']:.0f} MB before the model; "
            f"{beyond:.2f} models + 200 MB"
        )
    print(json.dumps({"server_memory": results, "clients": given.clients, "model_mb": given.model_mb}))


if __name__ == "__main__":
    main()
