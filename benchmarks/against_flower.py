"""The same training with Flower's own numbers and with ours: final hashes, their distance, what each learnt.

``python benchmarks/against_flower.py [--contexts DIR] [--rounds N] [--as-it-is]``

One training a context of ``examples/strategies`` whose strategy Flower has, and a side: the real app on its
real data, its clients in this process, everything of oneflower but the aggregation, for which one side calls
Flower's own method. With ``--as-it-is`` it is not helped over what ends it: arrays without dimensions,
counters that turn into floats.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower

from oneflower.aggregation import NUM_MALICIOUS, Arrays, Ordered, Update
from oneflower.checkpoints import Checkpoint, CheckpointReader, model_digest
from oneflower.flower.records import array_views
from oneflower.lab import simulation
from oneflower.local_cluster.plan import make_plan
from oneflower.settings import TrainingConfig, read_context, resolve, submitted
from oneflower.training import train as training
from oneflower.training.strategy import Strategy, build_strategy

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from flower_side import flowers, having_sent

ROOT = Path(__file__).parents[1]
Builder = Callable[..., Strategy]
HEAD = ("strategy", "clients", "SHA-256, Flower", "ours", "largest difference", "accuracy, Flower", "ours")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one training ended: its last checkpoint, or the words with which it failed."""

    checkpoint: Checkpoint | None = None
    failure: str = ""

    @property
    def digest(self) -> str:
        """Return the beginning of the model's SHA-256."""
        return model_digest(self.checkpoint.arrays)[:8] if self.checkpoint else "none"

    @property
    def accuracy(self) -> str:
        """Return the central accuracy after the last round."""
        if self.checkpoint is None:
            return f"none: {self.failure}"
        rounds = self.checkpoint.metrics["central"]
        return f"{rounds[str(self.checkpoint.round)]['accuracy']:.4f}"


class FlowersNumbers(Strategy):
    """Our driver with the aggregation of Flower's class of the same name."""

    def __init__(self, config: TrainingConfig) -> None:
        ours = build_strategy(config)
        super().__init__(spec=ours.spec, values=ours.values, sampling=ours.sampling)
        self.flowers = flowers(ours.spec.name, ours.values)
        self.helped = True

    def aggregate(
        self,
        server_round: int,
        model: Arrays,
        updates: Ordered,
        *,
        quarantined: int = 0,
        clients_decide: bool = False,
    ) -> tuple[ArrayRecord, MetricRecord]:
        """Give Flower's strategy the model that was sent and messages made from the updates."""
        del quarantined, clients_decide
        change = np.atleast_1d if self.helped else np.asarray
        sent = record_of({name: change(array) for name, array in model.items()})
        having_sent(self.flowers, sent, server_round, len(updates))
        if self.spec.name == "MultiKrum":
            selected = len(updates) - NUM_MALICIOUS.of(self.values)
            self.flowers.num_nodes_to_select = selected  # Flower's default is one; it weighs them by examples
        replies = [
            message_of(update, record_of({name: change(update.arrays[name]) for name in model}))
            for update in updates
        ]
        record, metrics = self.flowers.aggregate_train(server_round, replies)
        if self.helped:
            arrays = array_views(record)
            record = record_of({n: arrays[n].reshape(a.shape).astype(a.dtype) for n, a in model.items()})
        return record, metrics


def helped(config: TrainingConfig, **_of_no_class_of_flowers: object) -> Strategy:
    """Return Flower's numbers, helped over arrays without dimensions and over dtypes that change."""
    return FlowersNumbers(config)


def as_it_is(config: TrainingConfig, **_of_no_class_of_flowers: object) -> Strategy:
    """Return Flower's numbers without help."""
    strategy = FlowersNumbers(config)
    strategy.helped = False
    return strategy


def message_of(update: Update, arrays: ArrayRecord) -> Message:
    """Return the reply that an update was parsed from."""
    metrics: dict[str, Any] = dict(update.metrics)
    content = RecordDict({"arrays": arrays, "metrics": MetricRecord(metrics)})
    asked = Message(content=RecordDict(), dst_node_id=update.client, message_type="train")
    return Message(content=content, reply_to=asked)


def record_of(arrays: Mapping[str, Any]) -> ArrayRecord:
    """Return the record that holds these arrays."""
    return ArrayRecord({name: Array(np.array(array, order="C")) for name, array in arrays.items()})


def train(context: Path, builder: Builder, rounds: int, folder: Path) -> tuple[Outcome, int]:
    """Train what a context asks for; return how it ended and with how many clients."""
    resolution = resolve({}, {**read_context(context), "FL_NUM_ROUNDS": str(rounds)})
    clients = max(3, resolution.settings.min_available_clients)
    plan = make_plan(resolution, state=folder, nodes=clients, app=None)
    plan.folder.make()
    simulation.set_log_level("ERROR")
    run_config = plan.run_config()
    with patch.object(training, "build_strategy", builder):
        try:
            simulation.simulate(
                plan.fab,
                clients=clients,
                run_config=submitted(run_config, plan.fab.own),
                home=plan.folder.flwr_home,
                engine="local",
            )
        except Exception as error:  # noqa: BLE001 - whatever Flower's numbers raise is the result
            return Outcome(failure=f"{type(error).__name__}: {str(error).splitlines()[0][:60]}"), clients
    return Outcome(checkpoint=CheckpointReader(Path(str(run_config["checkpoint-path"]))).latest()), clients


def difference(one: Outcome, other: Outcome) -> str:
    """Return the largest difference of a value, as a share of the largest value of its array."""
    if one.checkpoint is None or other.checkpoint is None:
        return "none"
    shares = [
        float(np.max(np.abs(array.astype(float) - other.checkpoint.arrays[name])))
        / float(np.max(np.abs(array)))
        for name, array in one.checkpoint.arrays.items()
        if np.max(np.abs(array))
    ]
    return f"{max(shares):.1e}"


def main() -> None:
    """Print a row a strategy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--contexts", type=Path, default=ROOT / "examples" / "strategies")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--as-it-is", action="store_true", help="do not help Flower's numbers over what ends them"
    )
    given = parser.parse_args()
    theirs: Builder = as_it_is if given.as_it_is else helped
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for context in sorted(given.contexts.glob("*.sh")):
        if not hasattr(flower, read_context(context)["FL_STRATEGY"]):
            print(f"{context.stem}: Flower has no class of this strategy", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as folder:
            ends = {}
            for builder in (theirs, build_strategy):
                state = Path(folder) / builder.__name__
                ends[builder], clients = train(context, builder, given.rounds, state)
        flowers, ours = ends[theirs], ends[build_strategy]
        cells = (flowers.digest, ours.digest, difference(flowers, ours), flowers.accuracy, ours.accuracy)
        print(f"| {context.stem} | {clients} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
