"""The same training with Flower's own numbers and with ours: final hashes, their distance, what each learnt.

``python benchmarks/against_flower.py [--contexts DIR] [--rounds N]``

One training a context of ``examples/strategies`` and a side: the real app on its real data, its clients in
this process, everything of oneflower but the aggregation, for which one side calls Flower's own method.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import Any
from unittest.mock import patch

import numpy as np
from flwr.serverapp import strategy as flower

from oneflower.checkpoints import Checkpoint, CheckpointReader, model_digest
from oneflower.cluster.plan import make_plan
from oneflower.flower import simulation, training
from oneflower.flower.strategies import build_strategy
from oneflower.settings import TrainingConfig, read_context, resolve

ROOT = Path(__file__).parents[1]
FLOWER, OURS = "flower", "ours"
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


def with_flowers_numbers(config: TrainingConfig) -> Any:
    """Return our strategy with the aggregation of Flower's class of the same name."""
    strategy = build_strategy(config)
    strategy.aggregate_train = MethodType(getattr(flower, strategy.name).aggregate_train, strategy)  # type: ignore[method-assign]
    return strategy


def train(context: Path, side: str, rounds: int, folder: Path) -> tuple[Outcome, int]:
    """Train what a context asks for; return how it ended and with how many clients."""
    resolution = resolve({}, {**read_context(context), "FL_NUM_ROUNDS": str(rounds)})
    clients = max(3, resolution.settings.min_available_clients)
    plan = make_plan(resolution, state=folder, nodes=clients, app=None)
    plan.folder.make()
    simulation.set_log_level("ERROR")
    builder = with_flowers_numbers if side == FLOWER else build_strategy
    run_config = plan.run_config()
    with patch.object(training, "build_strategy", builder):
        try:
            simulation.simulate(
                plan.fab, clients=clients, run_config=run_config, home=plan.folder.flwr_home, engine="local"
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
    given = parser.parse_args()
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for context in sorted(given.contexts.glob("*.sh")):
        with tempfile.TemporaryDirectory() as folder:
            ends = {}
            for side in (FLOWER, OURS):
                ends[side], clients = train(context, side, given.rounds, Path(folder) / side)
        theirs, ours = ends[FLOWER], ends[OURS]
        cells = (theirs.digest, ours.digest, difference(theirs, ours), theirs.accuracy, ours.accuracy)
        print(f"| {context.stem} | {clients} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
