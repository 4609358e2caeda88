"""Compare each aggregation rule with Flower's: time, peak memory, share of a memory copy's bandwidth.

    python benchmarks/aggregation.py                                # the whole grid, some minutes
    python benchmarks/aggregation.py --clients 10 --values 1e7      # one cell of it

Both sides turn the same replies into a new ArrayRecord through the strategy's own `aggregate_train`,
alternating in one process. The ratio is that of their wall-clock medians. On a machine with other work, the
ratio in processor seconds is the more stable one. The model has four float32 arrays. Peak memory is the
memory allocated beyond the replies, in models, measured in a separate call. Bandwidth counts each update
read once and the result written once, relative to a plain copy of all updates timed in the same rounds. Our
strategies check replies as they arrive, before aggregation; the cost of a check is a separate line.
"""

import argparse
import gc
import itertools
import json
import logging
import platform
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from flwr.common import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower

from oneflower.training import strategies as ours
from oneflower.training.strategies import array_views

RULES = ("FedAvg", "FedAdam", "FedTrimmedAvg", "Krum", "Bulyan")
FRACTIONS = (1 / 2, 1 / 4, 1 / 8)  # and the rest
COLUMNS = {
    "flower_ms": "Flower ms",
    "ours_ms": "ours ms",
    "ratio": "ratio",
    "processor_ratio": "CPU ratio",
    "flower_models": "Fl. models",
    "ours_models": "our models",
    "copy_share": "of a copy",
}


class Nodes:
    """The part of a Grid that `configure_train` needs."""

    def __init__(self, count: int) -> None:
        self._count = count

    def get_node_ids(self) -> list[int]:
        """Return one id for each client."""
        return list(range(1, self._count + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The model that was sent, and each client's reply."""

    sent: ArrayRecord
    returned: list[ArrayRecord]

    @property
    def size_bytes(self) -> int:
        """Bytes of one model's values."""
        return sum(array.nbytes for array in array_views(self.sent).values())

    def replies(self) -> list[Message]:
        """Return new replies: Flower's Bulyan and FedTrimmedAvg modify theirs."""
        return [_reply(ArrayRecord(dict(r)), node_id) for node_id, r in enumerate(self.returned, start=1)]


def make_round(clients: int, values: int) -> Round:
    """Return a round of random updates near a random model."""
    rng = np.random.default_rng(0)
    sizes = [int(values * fraction) for fraction in FRACTIONS]
    sizes.append(values - sum(sizes))
    model = [rng.standard_normal(size, dtype=np.float32) for size in sizes]
    noise = np.float32(0.01)
    return Round(
        sent=ArrayRecord({f"layer{i}": Array(array) for i, array in enumerate(model)}),
        returned=[
            ArrayRecord(
                {
                    f"layer{i}": Array(array + noise * rng.standard_normal(array.size, dtype=np.float32))
                    for i, array in enumerate(model)
                }
            )
            for _ in range(clients)
        ],
    )


def _reply(arrays: ArrayRecord, node_id: int) -> Message:
    metrics = MetricRecord({"num-examples": 100 + node_id, "loss": 1 / node_id})
    content = RecordDict({"arrays": arrays, "metrics": metrics})
    asked = Message(content=RecordDict(), dst_node_id=node_id, message_type="train")
    return Message(content=content, reply_to=asked)


def make_strategy(module: Any, rule: str, this: Round) -> Any:
    """Return a strategy that has just sent the model; f is the largest that Bulyan allows."""
    clients = len(this.returned)
    options = {"num_malicious_nodes": (clients - 3) // 4} if rule in {"Krum", "Bulyan"} else {}
    strategy = getattr(module, rule)(**options)
    list(strategy.configure_train(1, this.sent, ConfigRecord(), Nodes(clients)))
    return strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """The cost of one call: wall-clock seconds, and processor seconds of all cores."""

    wall: float
    processor: float


def spent(action: Callable[[], object]) -> Spent:
    """Time one call, after collecting the garbage of the previous one."""
    gc.collect()
    processor, wall = time.process_time(), time.perf_counter()
    action()
    return Spent(wall=time.perf_counter() - wall, processor=time.process_time() - processor)


def peak_bytes(strategy: Any, replies: list[Message], server_round: int) -> int:
    """Return the peak of the memory that one aggregation allocates."""
    gc.collect()
    tracemalloc.start()
    strategy.aggregate_train(server_round, replies)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def copier(this: Round) -> Callable[[], None]:
    """Return a plain copy of every update into memory of one model."""
    updates = [array_views(record) for record in this.returned]
    target = {name: np.empty_like(array) for name, array in updates[0].items()}

    def copy() -> None:
        for update in updates:
            for name, array in update.items():
                np.copyto(target[name], array)

    copy()
    return copy


def compare(rule: str, this: Round, repeats: int) -> dict[str, float]:
    """Time both sides and a copy alternately, then measure their memory."""
    sides = {"flower": make_strategy(flower, rule, this), "ours": make_strategy(ours, rule, this)}
    copy = copier(this)
    times: dict[str, list[Spent]] = {"flower": [], "ours": [], "copy": []}
    for server_round in range(1, repeats + 1):
        for side, strategy in sides.items():
            replies = this.replies()
            times[side].append(spent(lambda s=strategy, r=replies, n=server_round: s.aggregate_train(n, r)))
        times["copy"].append(spent(copy))
    size = this.size_bytes
    wall, processor = (
        {side: median(getattr(one, clock) for one in calls) for side, calls in times.items()}
        for clock in ("wall", "processor")
    )
    peaks = {
        f"{side}_models": peak_bytes(strategy, this.replies(), repeats + 1) / size
        for side, strategy in sides.items()
    }
    clients = len(this.returned)
    return {
        "ratio": wall["flower"] / wall["ours"],
        "processor_ratio": processor["flower"] / processor["ours"],
        "copy_share": (clients + 1) / (2 * clients) * wall["copy"] / wall["ours"],
        **{f"{side}_ms": 1e3 * value for side, value in wall.items()},
        **peaks,
    }


def check_ms(this: Round, repeats: int) -> float:
    """Return the milliseconds needed to check one reply, which happens while others are awaited."""
    strategy = ours.FedAvg()
    schema, reply = strategy.schema(this.sent), this.replies()[0]
    return 1e3 * median(spent(lambda: strategy.check_reply(reply, schema)).wall for _ in range(repeats + 2))


def main() -> None:
    """Print one line per cell, then with --json the ratios as one line of JSON."""
    options = _options()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    print(f"NumPy {np.__version__}, Python {platform.python_version()}, {platform.machine()}")
    print(f"{'rule':>14}{'n d':>14}" + "".join(f"{title:>12}" for title in COLUMNS.values()))
    ratios: dict[str, float] = {}
    for clients, values in itertools.product(options.clients, options.values):
        this, cell = make_round(clients, int(values)), f"{clients} {_short(values)}"
        for rule in options.rules:
            measured = compare(rule, this, options.repeats)
            ratios[f"{rule} {cell}"] = round(measured["ratio"], 2)
            print(_line(rule, cell, measured), flush=True)
        print(f"{'one check':>14}{cell:>14}{'':>12}{check_ms(this, options.repeats):>12.2f}")
    if options.json:
        print(json.dumps({"ratios": ratios}))


def _line(rule: str, cell: str, measured: dict[str, float]) -> str:
    return f"{rule:>14}{cell:>14}" + "".join(f"{measured[key]:>12.2f}" for key in COLUMNS)


def _short(values: float) -> str:
    mantissa, exponent = f"{values:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clients", type=int, nargs="+", default=[5, 10, 50])
    parser.add_argument("--values", type=float, nargs="+", default=[1e5, 1e7], help="values in a model")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=RULES)
    parser.add_argument("--repeats", type=int, default=5, help="calls of each side, alternating")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
