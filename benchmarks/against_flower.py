"""Compare trainings with Flower's aggregation and with ours: final SHA-256, largest difference, accuracy.

``python benchmarks/against_flower.py [--contexts DIR] [--rounds N] [--as-it-is]``

Each context of ``examples/strategies`` is trained twice: the real app on its real data, its clients in this
process, all of oneflower except that one side aggregates with Flower's own method. Without ``--as-it-is``,
Flower's side gets help with what would end it: arrays without dimensions, counters that turn into floats.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import Any
from unittest.mock import patch

import numpy as np
from flwr.app import Array, ArrayRecord, Message
from flwr.serverapp import strategy as flower

from oneflower.checkpoints import Checkpoint, CheckpointReader, model_digest
from oneflower.lab import simulation
from oneflower.local_cluster.plan import make_plan
from oneflower.settings import TrainingConfig, read_context, resolve
from oneflower.training import train as training
from oneflower.training.strategies import array_views, build_strategy

ROOT = Path(__file__).parents[1]
Builder = Callable[[TrainingConfig], Any]
HEAD = ("strategy", "clients", "SHA-256, Flower", "ours", "largest difference", "accuracy, Flower", "ours")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of one training: its last checkpoint, or the error with which it failed."""

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


def as_it_is(config: TrainingConfig) -> Any:
    """Return our strategy with the aggregation of Flower's class of the same name."""
    strategy: Any = build_strategy(config)
    if isinstance(strategy, flower.Bulyan):
        strategy.selection_rule = flower.Bulyan().selection_rule
    method = getattr(flower, strategy.name).aggregate_train
    strategy.aggregate_train = MethodType(method, strategy)
    return strategy


def helped(config: TrainingConfig) -> Any:
    """Return the same, with help for arrays without dimensions and for dtypes that change."""
    strategy = as_it_is(config)
    method = strategy.aggregate_train

    def aggregate_train(server_round: int, replies: Iterable[Message]) -> Any:
        messages = list(replies)
        form = array_views(messages[0].content.array_records["arrays"])
        for message in messages:
            arrays = array_views(message.content.array_records["arrays"])
            message.content["arrays"] = record_of({name: np.atleast_1d(a) for name, a in arrays.items()})
        if getattr(strategy, "current_arrays", None) is not None:
            current = strategy.current_arrays.items()
            strategy.current_arrays = {name: np.atleast_1d(array) for name, array in current}
        found, metrics = method(server_round, messages)
        arrays = array_views(found)
        cast = {name: arrays[name].reshape(form[name].shape).astype(form[name].dtype) for name in form}
        return record_of(cast), metrics

    strategy.aggregate_train = aggregate_train
    return strategy


def record_of(arrays: Mapping[str, Any]) -> ArrayRecord:
    """Return the record that holds these arrays."""
    return ArrayRecord({name: Array(np.array(array, order="C")) for name, array in arrays.items()})


def train(context: Path, builder: Builder, rounds: int, folder: Path) -> tuple[Outcome, int]:
    """Train a context; return its result and the number of clients."""
    resolution = resolve({}, {**read_context(context), "FL_NUM_ROUNDS": str(rounds)})
    clients = max(3, resolution.settings.min_available_clients)
    plan = make_plan(resolution, state=folder, nodes=clients, app=None)
    plan.folder.make()
    simulation.set_log_level("ERROR")
    run_config = plan.run_config()
    with patch.object(training, "build_strategy", builder):
        try:
            simulation.simulate(
                plan.fab, clients=clients, run_config=run_config, home=plan.folder.flwr_home, engine="local"
            )
        except Exception as error:  # noqa: BLE001 - an exception of Flower's aggregation is a result
            return Outcome(failure=f"{type(error).__name__}: {str(error).splitlines()[0][:60]}"), clients
    return Outcome(checkpoint=CheckpointReader(Path(str(run_config["checkpoint-path"]))).latest()), clients


def difference(one: Outcome, other: Outcome) -> str:
    """Return the largest difference of a value, relative to the largest value of its array."""
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
    """Print one row per strategy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--contexts", type=Path, default=ROOT / "examples" / "strategies")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--as-it-is", action="store_true", help="give Flower's aggregation no help")
    given = parser.parse_args()
    theirs: Builder = as_it_is if given.as_it_is else helped
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for context in sorted(given.contexts.glob("*.sh")):
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
