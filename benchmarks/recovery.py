"""Measure the seconds from the kill (-9) of a SuperLink's process tree to the next completed round, by step.

For comparison: the minimum that a `flwr run` by hand needs on the same machine with the same launchers,
from the command, on a cluster that is already up, to the first completed round. In practice a person must
first notice the failure and restart the SuperLink, and without a checkpoint the training starts at round 1.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from oneflower.errors import ClusterError
from oneflower.flower.control import ControlClient
from oneflower.journal import Entry

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "e2e"), str(ROOT / "tests" / "e2e" / "recovery")]

from numpy_app import write_numpy_app  # noqa: E402
from scene import Scene  # noqa: E402

PAUSE_S = 0.5
"""What a client works in each round."""

STEPS = ("run_lost", "run_submitted", "training_resumed", "round_completed")


def moment(entry: Entry) -> float:
    """Return when an event was written, in seconds since 1970."""
    return entry.time.timestamp() if entry.time is not None else math.nan


def kill_once(scene: Any) -> list[float]:
    """Kill in the middle of a round; return the seconds until each step."""
    seen = {name: scene.count(name) for name in STEPS}
    scene.wait_for("round_started", after=scene.count("round_started"))
    seen["round_completed"] = scene.count("round_completed")
    began = time.time()
    scene.kill("superlink")
    return [moment(scene.wait_for_entry(name, after=seen[name])) - began for name in STEPS]


def by_hand(folder: Path, app: Path) -> float:
    """Return the seconds from `flwr run`, on a cluster that is up, to the first completed round."""
    scene = Scene(folder / "by-hand", app, pause_s=PAUSE_S)
    project = app / "pyproject.toml"
    federation = f'[tool.flwr.federations.here]\naddress = "{scene.control}"\ninsecure = true\n'
    project.write_text(f"{project.read_text()}\n{federation}")
    try:
        scene.start("superlink", *scene.supernodes)
        wait_for_nodes(ControlClient(scene.control), scene.nodes)
        began = time.time()
        subprocess.run(
            [Path(sys.executable).parent / "flwr", "run", app, "here"],
            env={**os.environ, "FLWR_HOME": str(folder / "flwr-home"), "FLWR_TELEMETRY_ENABLED": "0"},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return moment(scene.wait_for_entry("round_completed", round=1)) - began
    finally:
        scene.close()


def wait_for_nodes(control: ControlClient, nodes: int) -> None:
    """Wait until the given number of SuperNodes is registered."""
    while True:
        with suppress(ClusterError):
            if len(control.nodes()) == nodes:
                return
        time.sleep(0.1)


def main() -> None:
    """Kill as often as the command line says, and print the medians."""
    parser = argparse.ArgumentParser(description="Seconds from the kill of a SuperLink to the next round")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--by-hand", type=int, default=3, metavar="N", help="runs started by hand")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="recovery-") as folder:
        app = write_numpy_app(Path(folder) / "numpy-app")
        scene = Scene(Path(folder) / "scene", app, pause_s=PAUSE_S, NUM_ROUNDS="10000", MAX_RESTARTS="100")
        try:
            scene.start().wait_for("round_completed", round=1)
            times = [kill_once(scene) for _ in range(given.kills)]
        finally:
            scene.close()
        hand_s = statistics.median(
            by_hand(Path(folder) / str(number), write_numpy_app(Path(folder) / f"app-{number}"))
            for number in range(given.by_hand)
        )
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    print(f"`flwr run` on a cluster that is up, to its first completed round: {hand_s:.1f} s")
    for name, seconds in zip(
        ("noticed", "submitted again", "resumed", "next round completed"), medians, strict=True
    ):
        print(f"{name}: median of {given.kills}: {seconds:.1f} s after the kill")
    slowest = max(row[-1] for row in times)
    print(f"next round completed: slowest {slowest:.1f} s")
    if given.json:
        print(json.dumps({"ratios": {"recovery_to_hand_run": round(medians[-1] / hand_s, 2)}}))


if __name__ == "__main__":
    main()
