"""A process that forks writers on request; each commits checkpoints in a loop until it is killed.

Forking an interpreter that has imported everything already makes a kill cost milliseconds. The protocol on
stdin and stdout: a line `go` starts a writer and answers `pid N`; the writer prints `acked N` after each
save; `ended` follows its end.
"""

import itertools
import math
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from oneflower.checkpoints import Checkpoint, CheckpointStore, retention_of


def checkpoint(number):
    """Return the checkpoint of a round, about 200 kB: its commit takes long enough to be interrupted."""
    rng = np.random.default_rng(number)
    arrays = {"weight": rng.standard_normal((100, 400), dtype=np.float32), "steps": np.array(number)}
    return Checkpoint(
        round=number,
        total_rounds=10**9,
        arrays=arrays,
        state={"m/weight": rng.standard_normal(4000)},
        strategy="FedAdam",
        parameters={"server-lr": 0.1},
        app="app",
        seed=1,
    )


def commit_forever(root):
    """Resume from the folder's newest round and commit round after round."""
    with CheckpointStore(root, retention=retention_of(3)) as store:
        newest = store.latest()
        number = 0 if newest is None else newest.round
        while True:
            number += 1
            store.save(checkpoint(number))
            os.write(1, f"acked {number}\n".encode())


def prune_forever(root):
    """Commit small checkpoints as fast as possible, keep two and the best, and save some again."""
    with CheckpointStore(root, retention=retention_of(2)) as store:
        for number in itertools.count(1):
            metrics = {"central": {str(number): {"accuracy": math.sin(number)}}}
            for fill in (0.0, 1.0)[: 1 + (number % 5 == 0)]:
                arrays = {"weight": np.full(4000, number + fill, np.float32)}
                store.save(replace(checkpoint(1), round=number, arrays=arrays, metrics=metrics))


def serve(root, work):
    """Fork one writer per line of input, and wait for its end before the next."""
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            os.write(1, f"pid {os.getpid()}\n".encode())
            work(root)
        os.waitpid(child, 0)
        os.write(1, b"ended\n")


if __name__ == "__main__":
    serve(Path(sys.argv[1]), prune_forever if "--pruning" in sys.argv else commit_forever)
