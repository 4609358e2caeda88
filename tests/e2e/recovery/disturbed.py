"""One training that is disturbed until every fault was made, and what became of it."""

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from beside import Readers
from faults import make, small_disk, stopped

from oneflower.checkpoints import CheckpointReader

# What no machine is too slow for: the longest documented wait is that for a process that hangs.
PROGRESS_S, END_S, POLL_S = 600.0, 1800.0, 0.3


@dataclass(slots=True, kw_only=True)
class Result:
    """How it went; ``problem`` is empty where the promise was kept."""

    case: object
    rounds: int
    made: Counter = field(default_factory=Counter)
    lost: int = 0
    head_starts: int = 0
    reads: int = 0
    seconds: float = 0.0
    problem: str = ""


def newest(folder, rounds):
    """Return the SHA-256 of the last round's model, which is read and verified for it."""
    return CheckpointReader(folder).verify(rounds).model.sha256


class Disturbed:
    """One training and its faults."""

    def __init__(self, scene, case, rounds, say):
        self.scene, self.rounds, self._say = scene, rounds, say
        self.result = Result(case=case, rounds=rounds)
        self._began = time.monotonic()

    def run(self, faults, *, expected, limit_s=END_S):
        """Train under these faults to the end; return the result, with the problem where there is one."""
        scene, result = self.scene, self.result
        try:
            with small_disk(scene.checkpoints), Readers(scene) as readers:
                scene.start()
                scene.wait_for("round_completed", round=1, timeout_s=PROGRESS_S)
                for fault in faults:
                    if self._is_over():
                        break
                    self._make(fault)
                self._wait(self._is_over, "the training has not ended", limit_s)
                found = newest(scene.checkpoints, self.rounds)
                result.problem = "" if found == expected else f"another model: {found}, not {expected}"
                result.problem = result.problem or readers.problem
                result.reads = readers.reads
        except Exception as error:  # noqa: BLE001 - told in the summary, the next training goes on
            self._tell(f"FAILED: {error}")
            result.problem = str(error).partition("\n")[0] or type(error).__name__
        with suppress(OSError):
            result.lost = scene.count("run_lost")
        result.head_starts = scene.kept[scene.head].starts if scene.kept else 0
        result.seconds = time.monotonic() - self._began
        return result

    def _make(self, fault):
        scene = self.scene
        if fault.after_round:
            done = scene.count("round_completed")
            self._wait(
                lambda: self._is_over() or scene.count("round_completed") > done,
                "no round was completed after the last fault",
                PROGRESS_S,
            )
        time.sleep(fault.pause_s)
        if self._is_over():
            return
        number = max(scene.history(), default=0)
        hit = make(fault, scene)
        self.result.made[fault.name] += 1
        self._tell(f"round {number}: {fault} ({hit})")

    def _is_over(self):
        kept = self.scene.kept[self.scene.head]
        assert not set(kept.codes) & (set(kept.final) - {0}), f"given up, exit code {kept.codes[-1]}"
        return 0 in kept.codes

    def _wait(self, holds, problem, limit_s):
        deadline = time.monotonic() + limit_s
        while not holds():
            assert time.monotonic() < deadline, (
                f"{problem} in {limit_s:.0f} s; stopped: {stopped(self.scene)}"
            )
            time.sleep(POLL_S)

    def _tell(self, text):
        seconds = time.monotonic() - self._began
        self._say(f"{datetime.now(UTC):%H:%M:%S} {seconds:7.1f} s  {text}", flush=True)
