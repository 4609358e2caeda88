"""Kill a cluster with -9 while it writes a checkpoint, of 100 MB or MEGABYTES: `make torn-writes`.

Each time the training must resume from the checkpoint before, and the model at the end must be that of a
training that nothing disturbed. All processes together take many times the model's memory, so that where it
runs short it is they who are to be ended, not a neighbour.
"""

import argparse
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from scene import SUPERLINK, SUPERVISOR, Scene

from oneflower.checkpoints.names import manifest_name, model_name, temporary
from oneflower.flower.programs import program_of
from oneflower.procfs import command_line, send

MEGABYTES = 100
VALUES_A_MEGABYTE = 250_000
NODES = 2
# A round of 100 MB takes seconds; of a gigabyte, on a busy machine, minutes.
WAIT_S, WAIT_S_A_MEGABYTE = 240.0, 1.0
LOOK_S = 0.0005
MEMORY_LOOK_S = 0.5


def begun(folder, number):
    """Return how many bytes of a round's model lie under its temporary name, None before the first."""
    try:
        return temporary(folder / model_name(number)).stat().st_size
    except FileNotFoundError:
        return None


def kill_in_write(scene, number, part, *, all_of_it, wait_s):
    """Kill when this part of the round's model is written; tell whether the round was still uncommitted."""
    scene.wait_for("round_started", round=number, timeout_s=wait_s)
    (writer,) = scene.running(program="serverapp")
    deadline = time.monotonic() + wait_s
    while (size := begun(scene.checkpoints, number)) is None or size < part * 4 * scene.values:
        if (scene.checkpoints / manifest_name(number)).exists():
            break
        assert time.monotonic() < deadline, f"round {number} is not written\n{scene.tails()}"
        time.sleep(LOOK_S)
    send(writer, signal.SIGKILL)
    torn = not (scene.checkpoints / manifest_name(number)).exists()
    scene.kill(SUPERLINK, *((SUPERVISOR, *scene.supernodes) if all_of_it else ()))
    return torn


class PeakMemory:
    """The most memory that all processes of a scene took together, in multiples of the model."""

    def __init__(self, scene, megabytes):
        self.scene, self.megabytes, self.peak = scene, megabytes, Counter()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _watch(self):
        while not self._over.wait(MEMORY_LOOK_S):
            now = Counter()
            for process in self.scene.running():
                now[program_of(command_line(process.pid)) or "other"] += proportional_mib(process.pid)
            self.peak = max(self.peak, now, key=lambda used: sum(used.values()))

    def __str__(self):
        whole = sum(self.peak.values())
        parts = ", ".join(f"{name} {mib:.0f}" for name, mib in sorted(self.peak.items()))
        return f"{whole:.0f} MiB, {whole * 2**20 / (self.megabytes * 1e6):.1f} times the model ({parts})"


def proportional_mib(pid):
    """Return a process's memory; what it shares with others is counted in parts."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return int(re.search(r"^Pss: +(\d+)", text, re.MULTILINE)[1]) / 1024


def torn_writes(folder, app, *, kills, seed, megabytes=MEGABYTES, nodes=NODES, say=print):
    """Kill so often inside a write; return a summary, and raise where a promise was broken."""
    rounds = kills + (max(3, kills // 2) if megabytes <= MEGABYTES else 2)
    wait_s = WAIT_S + WAIT_S_A_MEGABYTE * megabytes
    variables = {"NUM_ROUNDS": str(rounds), "MAX_RESTARTS": "10", "ROUND_TIMEOUT": str(int(wait_s))}
    make = {"nodes": nodes, "pause_s": 0.0, "values": VALUES_A_MEGABYTE * megabytes, **variables}
    calm = Scene(folder / "undisturbed", app, **make)
    try:
        with PeakMemory(calm, megabytes) as memory:
            expected = calm.start().finish(timeout_s=wait_s * rounds).sha256
    finally:
        calm.close()
        shutil.rmtree(folder / "undisturbed", ignore_errors=True)
    say(f"undisturbed: {expected}, {memory}", flush=True)
    scene, rng, inside, late = Scene(folder / "killed", app, **make), random.Random(seed), 0, 0
    try:
        scene.start()
        for number in range(2, rounds):
            part, resumed = rng.random(), scene.count("training_resumed")
            torn = kill_in_write(scene, number, part, all_of_it=number % 2 == 0, wait_s=wait_s)
            found = scene.wait_for("training_resumed", after=resumed, timeout_s=wait_s).round
            assert found == number - 1 if torn else found in (number - 1, number)
            inside, late = inside + torn, late + (not torn)
            say(f"killed at {part:.0%} of round {number}: resumed after round {found}", flush=True)
            scene.wait_for("checkpoint_saved", round=number, timeout_s=wait_s) if torn else None
            if inside == kills:
                break
        sha256 = scene.finish(timeout_s=wait_s * rounds).sha256
        assert inside == kills, f"only {inside} of the kills came inside a write, {late} came late"
        assert sorted(scene.history()) == list(range(1, rounds + 1))
        assert sha256 == expected, "the model is not that of an undisturbed training"
    except BaseException:
        say(scene.tails())
        raise
    finally:
        scene.close()
    return {
        "checkpoint": f"{megabytes} MB",
        "memory of all processes, undisturbed": str(memory),
        "rounds": rounds,
        "kills inside a write": inside,
        "kills that came late": late,
        "sha256": sha256,
        "sha256 undisturbed": expected,
    }


def main():
    """Kill as often as the command line says, and print the summary."""
    Path("/proc/self/oom_score_adj").write_text("1000")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--megabytes", type=int, default=MEGABYTES)
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--folder", help="where to work, in place of a temporary folder in /tmp")
    given = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from numpy_app import write_numpy_app

    with tempfile.TemporaryDirectory(prefix="torn-writes-", dir=given.folder) as folder:
        app = write_numpy_app(Path(folder) / "numpy-app")
        summary = torn_writes(
            Path(folder),
            app,
            kills=given.kills,
            seed=given.seed,
            megabytes=given.megabytes,
            nodes=given.nodes,
        )
    sys.stdout.writelines(f"{name}: {value}\n" for name, value in summary.items())


if __name__ == "__main__":
    main()
