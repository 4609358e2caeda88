"""Kill a cluster with -9 while it writes a checkpoint of 100 MB, again and again: `make torn-writes`.

Each time the training must resume from the checkpoint before, and the model at the end must be that of a
training that nothing disturbed.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from scene import SUPERLINK, SUPERVISOR, Scene

from oneflower.checkpoints.names import manifest_name, model_name, temporary
from oneflower.procfs import send

VALUES = 25_000_000
NODES = 2
WAIT_S = 240.0
LOOK_S = 0.0005


def begun(folder, number):
    """Return how many bytes of a round's model lie under its temporary name, None before the first."""
    try:
        return temporary(folder / model_name(number)).stat().st_size
    except FileNotFoundError:
        return None


def kill_in_write(scene, number, part, *, all_of_it):
    """Kill when this part of the round's model is written; tell whether the round was still uncommitted."""
    scene.wait_for("round_started", round=number, timeout_s=WAIT_S)
    (writer,) = scene.running(program="serverapp")
    deadline = time.monotonic() + WAIT_S
    while (size := begun(scene.checkpoints, number)) is None or size < part * 4 * scene.values:
        if (scene.checkpoints / manifest_name(number)).exists():
            break
        assert time.monotonic() < deadline, f"round {number} is not written\n{scene.tails()}"
        time.sleep(LOOK_S)
    send(writer, signal.SIGKILL)
    torn = not (scene.checkpoints / manifest_name(number)).exists()
    scene.kill(SUPERLINK, *((SUPERVISOR, *scene.supernodes) if all_of_it else ()))
    return torn


def torn_writes(folder, app, *, kills, seed, say=print):
    """Kill so often inside a write; return a summary, and raise where a promise was broken."""
    rounds = kills + max(3, kills // 2)
    variables = {"NUM_ROUNDS": str(rounds), "MAX_RESTARTS": "10"}
    make = {"nodes": NODES, "pause_s": 0.0, "values": VALUES, **variables}
    calm = Scene(folder / "undisturbed", app, **make)
    try:
        expected = calm.start().finish(timeout_s=60 + 60 * rounds)["sha256"]
    finally:
        calm.close()
    scene, rng, inside, late = Scene(folder / "killed", app, **make), random.Random(seed), 0, 0
    try:
        scene.start()
        for number in range(2, rounds):
            part, resumed = rng.random(), scene.count("training_resumed")
            torn = kill_in_write(scene, number, part, all_of_it=number % 2 == 0)
            found = scene.wait_for("training_resumed", after=resumed, timeout_s=WAIT_S)["round"]
            assert found == number - 1 if torn else found in (number - 1, number)
            inside, late = inside + torn, late + (not torn)
            say(f"killed at {part:.0%} of round {number}: resumed after round {found}", flush=True)
            scene.wait_for("checkpoint_saved", round=number, timeout_s=WAIT_S) if torn else None
            if inside == kills:
                break
        sha256 = scene.finish(timeout_s=60 + 60 * rounds)["sha256"]
        assert inside == kills, f"only {inside} of the kills came inside a write, {late} came late"
        assert sorted(scene.history()) == list(range(1, rounds + 1))
        assert sha256 == expected, "the model is not that of an undisturbed training"
    except BaseException:
        say(scene.tails())
        raise
    finally:
        scene.close()
    return {
        "checkpoint": f"{4 * VALUES // 10**6} MB",
        "rounds": rounds,
        "kills inside a write": inside,
        "kills that came late": late,
        "sha256": sha256,
        "sha256 undisturbed": expected,
    }


def main():
    """Kill as often as the command line says, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from conftest import write_numpy_app

    with tempfile.TemporaryDirectory(prefix="torn-writes-") as folder:
        app = write_numpy_app(Path(folder) / "numpy-app")
        summary = torn_writes(Path(folder), app, kills=given.kills, seed=given.seed)
    sys.stdout.writelines(f"{name}: {value}\n" for name, value in summary.items())


if __name__ == "__main__":
    main()
