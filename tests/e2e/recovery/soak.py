"""A training under random faults from a seeded schedule: `make soak`, and a short one as a test.

Every committed round must stand once in the final history, and the model must be that of a training that
nothing disturbed.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from scene import SUPERLINK, SUPERVISOR, Scene

SHORTEST_S, LONGEST_S = 20.0, 40.0
NODE_DOWN_S = 5.0
# About a second and a half a round with the pause in the clients.
ROUND_S = 1.5


def faults(scene, rng):
    """Return what may go wrong, by name."""
    node = rng.choice(scene.supernodes)

    def node_away():
        scene.hold_down(node)
        time.sleep(NODE_DOWN_S)
        scene.start(node)

    return {
        "supernode killed": lambda: scene.kill(node),
        "supernode killed, back after 5 s": node_away,
        "superlink killed": lambda: scene.kill(SUPERLINK),
        "serverapp killed": lambda: scene.kill(program="serverapp"),
        "executor killed": lambda: scene.kill(program="superexec"),
        "supervisor killed": lambda: scene.kill(SUPERVISOR),
        "everything killed": lambda: scene.kill(SUPERLINK, SUPERVISOR, *scene.supernodes),
    }


def disturb(scene, seconds, rng, say=print):
    """Break something every 20 to 40 s for so long; return how often each fault was made."""
    made = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end and not scene.events("training_finished"):
        time.sleep(rng.uniform(SHORTEST_S, LONGEST_S))
        # The choice hangs on the seed alone, not on what runs at the moment.
        choices = faults(scene, rng)
        name = rng.choice(sorted(choices))
        choices[name]()
        made[name] += 1
        say(f"{datetime.now(UTC):%H:%M:%S} round {max(scene.history(), default=0)}: {name}", flush=True)
    return made


def lost_s(scene):
    """Return the seconds between the last completed round before each loss and the next one after it."""
    total, last, lost = 0.0, None, False
    for entry in scene.entries("run_lost", "round_completed"):
        now = entry.time.timestamp()
        if entry.event.tag == "run_lost":
            lost = True
        else:
            total += now - last if lost and last else 0.0
            last, lost = now, False
    return total


def soak(folder, app, *, seconds, seed, say=print):
    """Train under faults for so long; return a summary, and raise where a promise was broken."""
    rounds = max(10, int(seconds / ROUND_S / 2))
    variables = {"NUM_ROUNDS": str(rounds), "MAX_RESTARTS": "50"}
    calm = Scene(folder / "undisturbed", app, pause_s=0.0, **variables)
    try:
        expected = calm.start().finish(timeout_s=seconds + 600).sha256
    finally:
        calm.close()
    scene = Scene(folder / "soak", app, pause_s=0.7, **variables)
    began = time.monotonic()
    try:
        made = disturb(scene.start(), seconds, random.Random(seed), say)
        found = scene.finish(timeout_s=seconds + 600).sha256
        assert sorted(scene.history()) == list(range(1, rounds + 1))
        assert found == expected, "the model is not that of an undisturbed training"
        return {
            "seed": seed,
            "seconds": round(time.monotonic() - began),
            "rounds": rounds,
            "faults": dict(made),
            "restarts": len(scene.events("run_lost")),
            "seconds lost": round(lost_s(scene)),
            "sha256 as undisturbed": True,
        }
    except BaseException:
        say(scene.tails())
        raise
    finally:
        scene.close()


def main():
    """Soak for as long as the command line says, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from numpy_app import write_numpy_app

    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        app = write_numpy_app(Path(folder) / "numpy-app")
        summary = soak(Path(folder), app, seconds=60 * given.minutes, seed=given.seed)
    sys.stdout.writelines(f"{name}: {value}\n" for name, value in summary.items())


if __name__ == "__main__":
    main()
