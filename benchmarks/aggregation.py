"""Each aggregation rule against Flower's own: time, peak memory, share of a memory copy's bandwidth.

    python benchmarks/aggregation.py                                # the grid and the shares, some minutes
    python benchmarks/aggregation.py --clients 10 --values 1e7      # one cell of it, and the shares
    python benchmarks/aggregation.py --shares --write docs/aggregation.md    # the shares alone, into the docs

Both sides turn the same replies into a new ArrayRecord, one after the other in one process; the ratio is
that of their medians on the wall clock. On a machine with other work the ratio in processor seconds is the
steadier one. The model has four float32 arrays. Peak memory is what is allocated beyond the replies, in
models, in a call of its own. Bandwidth counts each update read once and the result written once, over a plain
copy of all updates timed in the same rounds. Ours parses and checks replies as they arrive, before this; what
that costs is a line of its own. Then `read_share.py` gives the share of the read bandwidth of every rule,
also of those that Flower does not have, and the last line is JSON: the ratios and the shares.
"""

import argparse
import gc
import itertools
import json
import logging
import platform
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from flwr.common import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy

from oneflower.aggregation import NUM_MALICIOUS, SPECS, Values, check_together, model_schema, spec_of
from oneflower.aggregation.compiled import summary
from oneflower.flower.records import array_views
from oneflower.training.replies import parse_update
from oneflower.training.strategy import Strategy

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from read_share import (  # type: ignore[import-not-found]
    Share,
    Timed,
    shares,
    start_as_a_serverapp,
    table,
    write_table,
)

from flower_side import flowers, having_sent  # type: ignore[import-not-found]

# FedProx is FedAvg on the server; what Flower has no strategy of has nothing to be compared with.
RULES = tuple(spec.name for spec in SPECS if spec.name != "FedProx" and hasattr(strategy, spec.name))
ALL_RULES = tuple(spec.name for spec in SPECS)
FRACTIONS = (1 / 2, 1 / 4, 1 / 8)  # and what is left
AROUND_THE_MODEL = ("CenteredClipping", "FLTrust")  # they read the model that was sent, too
SHARES = (
    (10, 1e7),
    (50, 1e6),
)  # clients and values of which the shares are measured; the first go into the JSON
COLUMNS = {
    "flower_ms": "Flower ms",
    "ours_ms": "ours ms",
    "ratio": "ratio",
    "processor_ratio": "CPU ratio",
    "flower_models": "Fl. models",
    "ours_models": "our models",
    "copy_share": "of a copy",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The model that was sent and what each client sent back."""

    sent: ArrayRecord
    returned: list[ArrayRecord]

    @property
    def size_bytes(self) -> int:
        """Bytes of one model's values."""
        return sum(array.nbytes for array in array_views(self.sent).values())

    def replies(self) -> list[Message]:
        """Return fresh replies: Flower's Bulyan and FedTrimmedAvg take theirs apart."""
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


Aggregator = Callable[[int, list[Any]], object]
"""Combines the replies of a round of this number."""


def flower_side(rule: str, this: Round) -> Aggregator:
    """Return Flower's strategy that has just sent the model."""
    clients = len(this.returned)
    theirs = having_sent(flowers(rule, values_of(rule, clients)), this.sent, 1, clients)
    aggregate: Aggregator = theirs.aggregate_train
    return aggregate


def our_side(rule: str, this: Round) -> Aggregator:
    """Return ours, which takes the updates that were parsed from the replies when they arrived."""
    ours = Strategy(
        spec=spec_of(rule),
        values=values_of(rule, len(this.returned)),
        root_update=lambda _number, _sent: this.returned[0],  # of FLTrust
    )
    model = array_views(this.sent)
    return lambda number, updates: ours.aggregate(number, model, check_together(updates).valid)


def values_of(rule: str, clients: int) -> Values:
    """Return the example's parameters; f is the largest that Bulyan tolerates."""
    spec = spec_of(rule)
    malicious = {"num_malicious": (clients - 3) // 4} if NUM_MALICIOUS in spec.parameters else {}
    return spec.values(**spec.example | malicious)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one call took: seconds on the wall, and seconds of all processors together."""

    wall: float
    processor: float


def spent(action: Callable[[], object]) -> Spent:
    """Time one call, with the garbage of the one before cleared away first."""
    gc.collect()
    processor, wall = time.process_time(), time.perf_counter()
    action()
    return Spent(wall=time.perf_counter() - wall, processor=time.process_time() - processor)


def peak_bytes(aggregate: Aggregator, replies: list[Any], number: int) -> int:
    """Return what one aggregation allocates at its peak."""
    gc.collect()
    tracemalloc.start()
    aggregate(number, replies)
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
    """Time both sides and a copy in turn, then measure their memory."""
    schema = model_schema(array_views(this.sent))
    # What each side is given, fresh for every call, and what it does with it.
    sides: dict[str, tuple[Callable[[], list[Any]], Aggregator]] = {
        "flower": (this.replies, flower_side(rule, this)),
        "ours": (lambda: [parse_update(reply, schema) for reply in this.replies()], our_side(rule, this)),
    }
    copy = copier(this)
    times: dict[str, list[Spent]] = {"flower": [], "ours": [], "copy": []}
    for number in range(1, repeats + 1):
        for side, (given, aggregate) in sides.items():
            replies = given()
            times[side].append(spent(partial(aggregate, number, replies)))
        times["copy"].append(spent(copy))
    size = this.size_bytes
    wall, processor = (
        {side: median(getattr(one, clock) for one in calls) for side, calls in times.items()}
        for clock in ("wall", "processor")
    )
    peaks = {
        f"{side}_models": peak_bytes(aggregate, given(), repeats + 1) / size
        for side, (given, aggregate) in sides.items()
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
    """Return the milliseconds that parsing one reply takes, which happens while others are awaited."""
    schema, reply = model_schema(array_views(this.sent)), this.replies()[0]
    return 1e3 * median(spent(partial(parse_update, reply, schema)).wall for _ in range(repeats + 2))


def read_shares(clients: int, values: int, rules: Sequence[str], repeats: int) -> dict[str, Share]:
    """Print and return how near each rule comes to reading its input."""
    this = make_round(clients, values)
    model = array_views(this.sent)
    schema = model_schema(model)

    def given() -> list[Any]:
        return [parse_update(reply, schema) for reply in this.replies()]

    timed = {}
    for rule in rules:
        state = sum(array.nbytes for array in spec_of(rule).init(model).values())
        sent = this.size_bytes if state or rule in AROUND_THE_MODEL else 0
        read = clients * this.size_bytes + state + sent
        timed[rule] = Timed(aggregate=our_side(rule, this), given=given, bytes_read=read)
    updates = [array for record in this.returned for array in array_views(record).values()]
    found, speed = shares(timed, updates, repeats)
    cell = f"{clients} {_short(values)}"
    print(f"{'share of':>14}{cell:>14}  one core reads {speed}; aggregation by {summary()}")
    for rule, each in found.items():
        print(f"{rule:>18}{each.ms:>10.1f} ms{100 * each.share:>8.0f} %", flush=True)
    return found


def main() -> None:
    """Print a line a cell, then the shares, then ratios and shares as one line of JSON."""
    options = _options()
    start_as_a_serverapp(int(4 * max(options.values)))
    logging.getLogger("flwr").setLevel(logging.ERROR)
    print(f"NumPy {np.__version__}, Python {platform.python_version()}, {platform.machine()}")
    if not options.shares:
        print(f"{'rule':>14}{'n d':>14}" + "".join(f"{title:>12}" for title in COLUMNS.values()))
    ratios: dict[str, float] = {}
    cells = () if options.shares else itertools.product(options.clients, options.values)
    for clients, values in cells:
        this, cell = make_round(clients, int(values)), f"{clients} {_short(values)}"
        for rule in options.rules:
            measured = compare(rule, this, options.repeats)
            ratios[f"{rule} {cell}"] = round(measured["ratio"], 2)
            print(_line(rule, cell, measured), flush=True)
        print(f"{'one check':>14}{cell:>14}{'':>12}{check_ms(this, options.repeats):>12.2f}")
    tables = [
        read_shares(clients, int(values), options.share_rules, options.share_repeats)
        for clients, values in SHARES
    ]
    if options.write:
        titles = [f"{clients} clients, {_short(values)} values" for clients, values in SHARES]
        write_table(options.write, table(tables[0], tables[1], titles))
    read_share, of_many = ({rule: round(each.share, 3) for rule, each in table.items()} for table in tables)
    print(json.dumps({"ratios": ratios, "read_share": read_share, "read_share_of_50": of_many}))


def _line(rule: str, cell: str, measured: dict[str, float]) -> str:
    return f"{rule:>14}{cell:>14}" + "".join(f"{measured[key]:>12.2f}" for key in COLUMNS)


def _short(values: float) -> str:
    mantissa, exponent = f"{values:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clients", type=int, nargs="+", default=[5, 10])
    parser.add_argument("--values", type=float, nargs="+", default=[1e5, 1e7], help="values in a model")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=RULES)
    parser.add_argument("--repeats", type=int, default=3, help="calls of each side, in turn")
    parser.add_argument("--shares", action="store_true", help="only the shares of the read bandwidth")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the table of shares into this page")
    parser.add_argument("--share-rules", nargs="+", choices=ALL_RULES, default=ALL_RULES)
    parser.add_argument(
        "--share-repeats", type=int, default=7, help="calls of each rule and each read, in turn"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
