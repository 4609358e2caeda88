"""How far honest and malicious clients are from the model: what an outlier is follows from it (decision 240).

    python benchmarks/outliers.py FILE              # each training is a line of FILE; run it again to go on
    python benchmarks/outliers.py FILE --rounds 10  # longer trainings
    python benchmarks/outliers.py FILE --table      # what is there
    python benchmarks/outliers.py --cost            # processor time of measuring a sample, and all values

A training is a cell of `robustness.py`: the image-classification app, eleven clients, two of them malicious.
"""

import argparse
import itertools
import json
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median_low

import numpy as np
from robustness_cells import Cell, train_cell

from oneflower.aggregation import Update, inspection, ordered
from oneflower.journal import read_journal
from oneflower.journal.events import UpdatesMeasured
from oneflower.journal.state.outliers import FAR, LEAST

RULES = ("Robust", "Krum", "FedAvg", "MultiKrum", "GeometricMedian")
ATTACKS = (
    "none",
    "sign flip",
    "label flip",
    "inner product",
    "Min-Max",
    "ALIE",
    "stale",
    "backdoor",
    "noise",
)
SPLITS, SEEDS = ("alpha 0.3", "IID", "alpha 0.1"), (42, 43, 44)


def cells(rounds: int) -> Iterator[Cell]:
    """Yield the trainings, one seed after the other."""
    for seed, attack, split, rule in itertools.product(SEEDS, ATTACKS, SPLITS, RULES):
        yield Cell(split=split, rule=rule, attack=attack, seed=seed, rounds=rounds)


def trained(cell: Cell) -> dict[str, object]:
    """Return what the journal of a training says of each update, and who was malicious."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal.jsonl"
        grid = train_cell(cell, journal)
        events = [each.event for each in read_journal(journal)]
    rows = [
        {"round": event.round, "clients": event.clients, "distances": event.distances}
        for event in events
        if isinstance(event, UpdatesMeasured)
    ]
    return {"cell": cell.key, "bad": [str(node) for node in grid.malicious], "rows": rows}


def ratios(found: dict[str, object]) -> dict[str, list[float]]:
    """Return by client its distances in medians, one of each round."""
    by_client: dict[str, list[float]] = {}
    for row in found["rows"]:
        middle = median_low(each for each in row["distances"] if each > 0)
        for client, distance in zip(row["clients"], row["distances"], strict=True):
            by_client.setdefault(client, []).append(distance / middle)
    return by_client


def table(lines: list[str]) -> str:
    """Return a row for each training: what is largest among the honest, and what the malicious have."""
    rows = [
        "| data, seed | rule | attack | honest: largest median | in a round | malicious: medians | flagged |",
        "|---|---|---|---|---|---|---|",
    ]
    for found in map(json.loads, lines):
        split, rule, attack, seed = found["cell"][:4]
        bad = set() if attack == "none" else set(found["bad"])
        by_client = ratios(found)
        honest = [values for client, values in by_client.items() if client not in bad]
        malicious = [values for client, values in by_client.items() if client in bad]
        flagged = f"{sum(map(is_far, honest))} honest, {sum(map(is_far, malicious))} malicious"
        medians = ", ".join(f"{median_low(values):.2f} ({len(values)})" for values in malicious)
        largest = max(map(max, honest))
        rows.append(
            f"| {split}, {seed} | {rule} | {attack} | {max(map(median_low, honest)):.2f} | {largest:.2f} "
            f"| {medians} | {flagged} |"
        )
    return "\n".join(rows)


def is_far(values: list[float]) -> bool:
    """Say whether a client with these distances is an outlier."""
    far = sum(each >= FAR for each in values)
    return far >= LEAST and 2 * far > len(values)


def cost() -> None:
    """Print how long measuring takes, for 10 clients."""
    rng, bound = np.random.default_rng(0), inspection.MOST_VALUES
    for size in (10**6, 10**7):
        given = ordered(
            Update(client=i, arrays={"w": rng.standard_normal(size, np.float32)}) for i in range(10)
        )
        sent, new = ({"w": np.full(size, value, np.float32)} for value in (0, 1))
        for most, what in ((bound, "as it is"), (10 * size, "all values")):
            inspection.MOST_VALUES = most
            best = math.inf
            for _ in range(5):
                begun = time.thread_time()
                inspection.inspect(given, sent, new)
                best = min(best, time.thread_time() - begun)
            print(f"10 clients, {size} weights, {what}: {1000 * best:.0f} ms of a processor")


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--cost", action="store_true", help="measure the processor time, and train nothing")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--table", action="store_true", help="train nothing")
    options = parser.parse_args()
    if options.cost:
        cost()
        return
    if options.file is None:
        parser.error("expected FILE, for the trainings, or --cost")
    lines = options.file.read_text(encoding="utf-8").splitlines() if options.file.exists() else []
    done = {tuple(json.loads(line)["cell"]) for line in lines}
    for cell in () if options.table else cells(options.rounds):
        if cell.key in done:
            continue
        lines.append(json.dumps(trained(cell)))
        with options.file.open("a", encoding="utf-8") as file:
            file.write(f"{lines[-1]}\n")
        print(table(lines[-1:]).splitlines()[-1], flush=True)
    print(table(lines))


if __name__ == "__main__":
    main()
