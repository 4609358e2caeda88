"""Seconds from the kill of a SuperLink (its whole tree, -9) to the next completed round, and where they go.

Beside them what a run that is started by hand needs at the least, on the same machine in the same minute:
from the submission of the same app, to a SuperLink and SuperNodes that are just up, to its first completed
round. A person has to notice first, and without a checkpoint begins at round 1.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "e2e"), str(ROOT / "tests" / "e2e" / "recovery")]

from scene import Scene  # noqa: E402

from conftest import write_numpy_app  # noqa: E402

STEPS = ("run_lost", "run_submitted", "training_resumed", "round_completed")


def moment(event: dict[str, Any]) -> float:
    """Return when an event was written, in seconds since 1970."""
    return datetime.fromisoformat(event["time"]).timestamp()


def kill_once(scene: Any) -> list[float]:
    """Kill in the middle of a round; return the seconds until each step."""
    seen = {name: scene.count(name) for name in STEPS}
    scene.wait_for("round_started", after=scene.count("round_started"))
    seen["round_completed"] = scene.count("round_completed")
    began = time.time()
    scene.kill("superlink")
    return [moment(scene.wait_for(name, after=seen[name])) - began for name in STEPS]


def by_hand(scene: Any) -> float:
    """Return the seconds from a submission to an idle cluster to the first completed round."""
    scene.start("superlink", *scene.supernodes)
    scene.start("supervisor")
    submitted = moment(scene.wait_for("run_submitted"))
    return moment(scene.wait_for("round_completed", round=1)) - submitted


def main() -> None:
    """Kill so often as the command line says, and print the medians."""
    parser = argparse.ArgumentParser(description="Seconds from the kill of a SuperLink to the next round")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="recovery-") as folder:
        app = write_numpy_app(Path(folder) / "numpy-app")
        scene = Scene(Path(folder) / "scene", app, pause_s=0.5, NUM_ROUNDS="10000", MAX_RESTARTS="100")
        try:
            hand_s = by_hand(scene)
            times = [kill_once(scene) for _ in range(given.kills)]
        finally:
            scene.close()
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    print(f"first round of a run started by hand on a cluster that is up: {hand_s:.1f} s")
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
