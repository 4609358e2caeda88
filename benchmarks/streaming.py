"""Measure the time from the last reply of a round to the new model: updates summed as they come, or kept.

    python benchmarks/streaming.py                                 # 10 and 50 clients, ten million values
    python benchmarks/streaming.py --clients 10 --values 1e6 --strategy FedAdam

Both ways alternate in one process and get the same replies: every reply but the last has been taken before
the clock starts. What is timed is the checks of the last reply, the bounds of the round, the aggregation and
the new ArrayRecord. Medians; wall clock and processor seconds. The last line is JSON.
"""

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from read_share import start_as_a_serverapp

from oneflower.aggregation import NDArray, check_together, spec_of
from oneflower.flower.grid import Reply
from oneflower.flower.records import to_array
from oneflower.flower.spool import Spool
from oneflower.training.strategy import Strategy
from oneflower.training.streaming import Streaming

ARRAYS = 4
SPREAD = np.float32(0.01)


def replies(count: int, sent: dict[str, NDArray], noise: NDArray) -> Iterator[Reply]:
    """Yield replies: the model that was sent and a stretch of noise that begins elsewhere for each client."""
    asked = RecordDict()
    for node in range(1, count + 1):
        arrays = {
            name: to_array(array + np.roll(noise, 977 * node)[: array.size] * SPREAD)
            for name, array in sent.items()
        }
        metrics = MetricRecord({"num-examples": 100 + 7 * node})
        content = RecordDict({"arrays": ArrayRecord(arrays), "metrics": metrics})
        yield Reply(
            node_id=node, message=Message(content, reply_to=Message(asked, node, "train")), seconds=1.0
        )


def last_reply_ms(
    strategy: Strategy, count: int, sent: dict[str, NDArray], noise: NDArray
) -> tuple[float, ...]:
    """Return milliseconds, wall and processor, from the last reply to the new model, and to take a reply."""
    parse, valid, took = strategy.update_parser(sent), [], []
    for reply in replies(count, sent, noise):
        gc.collect()
        started, worked = time.perf_counter(), time.process_time()
        valid.append(parse(reply))
        took.append(((time.perf_counter() - started) * 1e3, (time.process_time() - worked) * 1e3))
    updates = check_together(valid, strategy.max_weight).valid
    bounded = strategy.bounded(sent, updates).updates
    strategy.aggregate(1, sent, bounded)
    wall, worked_ms = (time.perf_counter() - started) * 1e3, (time.process_time() - worked) * 1e3
    return wall, worked_ms, *(median(each) for each in zip(*took, strict=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[10, 50])
    parser.add_argument("--values", type=float, default=1e7)
    parser.add_argument("--strategy", default="FedAvg")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    start_as_a_serverapp(int(4 * given.values))
    size, rng = int(given.values) // ARRAYS, np.random.default_rng(0)
    noise = rng.standard_normal(size + 1, np.float32)
    sent = {f"w{i}": rng.standard_normal(size, np.float32) * np.float32(0.05) for i in range(ARRAYS)}
    print(
        "clients | kept: ms (processor) | summed: ms (processor) | ratio (processor) | "
        "processor ms to take a reply"
    )
    results: dict[str, Any] = {}
    for count in given.clients:
        found: dict[bool, list[tuple[float, ...]]] = {False: [], True: []}
        for _ in range(given.repeats):
            for streams in (False, True):
                spec = spec_of(given.strategy)
                strategy = Strategy(spec=spec, values=spec.example, norm_bound=10.0, max_weight=20.0)
                with tempfile.TemporaryDirectory() as folder:
                    if streams:
                        strategy.stream(Streaming(spool=Spool(folder=Path(folder))))
                    found[streams].append(last_reply_ms(strategy, count, sent, noise))
        kept, summed = ([median(each) for each in zip(*found[way], strict=True)] for way in (False, True))
        ratios = kept[0] / summed[0], kept[1] / summed[1]
        print(
            f"{count} | {kept[0]:.0f} ({kept[1]:.0f}) | {summed[0]:.0f} ({summed[1]:.0f}) | "
            f"{ratios[0]:.1f} ({ratios[1]:.1f}) | {kept[3]:.0f}, {summed[3]:.0f}",
            flush=True,
        )
        results[str(count)] = {
            "kept_ms": round(kept[0], 1),
            "summed_ms": round(summed[0], 1),
            "processor_ms": [round(kept[1], 1), round(summed[1], 1)],
            "ratio": round(ratios[0], 2),
            "processor_ratio": round(ratios[1], 2),
        }
    print(json.dumps({"last_reply_to_model": results, "values": given.values, "strategy": given.strategy}))


if __name__ == "__main__":
    main()
