"""Send mutated replies from a seed through the ServerApp's side: `make fuzz MINUTES=10`.

``python -m tests.attacks.fuzz --minutes 10 --seed 1``, from the root of the repository, reads them in this
process: each must give an update or one event that leaves the client out, and the memory must stay below
the bound. With ``--cluster`` an attacker sends them to a real SuperLink: the training
must go on, never be restarted, and blame nobody else.
"""

import argparse
import gc
import re
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import grpc

from .attacker import answering
from .in_process import NODE, ServerSide
from .mutations import Mutations, model

MOST_MB = 300
"""Far below what one hostile reply could take before it was bounded: 2.2 GB."""
CHECK_EVERY = 500


def fuzz(seconds, seed, say=print):
    """Read mutated replies for so long; return how each was taken."""
    side, source, outcomes = ServerSide(model()), Mutations(seed), Counter()
    with suppress(OSError):  # what the process took before is no peak of these replies
        Path("/proc/self/clear_refs").write_text("5")
    end, base, number = time.monotonic() + seconds, memory_mb("VmRSS"), 0
    while time.monotonic() < end:
        taken = side.take(lambda asked: source.reply(asked, src_node_id=NODE))
        outcomes[f"{taken.tag} {taken.code}" if hasattr(taken, "tag") else "valid"] += 1
        assert not hasattr(taken, "reason") or len(taken.reason) <= 10_000, taken.reason[:100]
        number += 1
        if number % CHECK_EVERY == 0:
            gc.collect()
            peak = memory_mb("VmHWM")
            assert peak < base + MOST_MB, f"{peak:.0f} MB after reply {number} of seed {seed}"
            say(f"{number} replies, peak {peak - base:+.0f} MB", flush=True)
    return outcomes


def memory_mb(name):
    """Return the memory of this process, now (VmRSS) or at most (VmHWM), in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) / 1024


def fuzz_cluster(cluster, seconds, seed, say=print):
    """Let an attacker answer a running cluster for so long; return how often it was left out, by code."""
    source, attacker = Mutations(seed), cluster.attacker()
    serverapp, base = cluster.serverapp(), cluster.peak_mb(cluster.serverapp())

    def answer(client, asked):
        made = source.reply(asked, src_node_id=client.id)
        if not client.try_push(asked, made):
            with suppress(grpc.RpcError):  # the SuperLink may have answered in its place
                client.push_error(asked, "the SuperLink took no reply")

    end = time.monotonic() + seconds
    with answering(attacker, answer, kinds=("train", "evaluate")) as done:
        while time.monotonic() < end:
            before = cluster.last_round
            cluster.rounds_after(before, count=5)
            say(f"{len(done)} replies, round {cluster.last_round}", flush=True)
    assert cluster.serverapp() == serverapp
    assert cluster.peak_mb(serverapp) < base + MOST_MB
    return Counter(str(event.code) for event in cluster.left_out(attacker.id))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cluster", action="store_true", help="attack a real SuperLink")
    given = parser.parse_args()
    seconds = 60 * given.minutes
    if not given.cluster:
        outcomes = fuzz(seconds, given.seed)
    else:
        from .conftest import Cluster

        cluster = Cluster(Path(tempfile.mkdtemp()), {})
        try:
            outcomes = fuzz_cluster(cluster.begin(), seconds, given.seed)
            cluster.check_unharmed(bytes_too=False)
        finally:
            cluster.end()
    for outcome, count in outcomes.most_common():
        sys.stdout.write(f"{count:8} {outcome}\n")


if __name__ == "__main__":
    main()
