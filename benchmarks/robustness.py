"""Attack the real image-classification app under all strategies, and write docs/robustness.md.

    python benchmarks/robustness.py --minutes 60   # runs what is missing for an hour; say it again to go on
    python benchmarks/robustness.py --quick        # the mean and the recommended rule under two attacks

The whole matrix takes hours on two cores. Each training that ends is a line of
benchmarks/results/robustness.jsonl, so that it is run once, in pieces; `--again RULE` forgets a rule's. The
tables and the picture of the page show what is there, and say how much that is. The last line is JSON:
`losses` has the points that each rule loses at most against the mean of the honest clients alone, by split.
"""

import argparse
import json
import math
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path

from robustness_attacks import ATTACKS, REMOVED
from robustness_cells import RULES, SPLITS, Cell, run_cell
from robustness_page import losses, most_lost, table, write_page

RESULTS = Path(__file__).resolve().parent / "results" / "robustness.jsonl"
SEEDS, ROUNDS = (42, 43, 44), 10
FIRST = ("Robust", "FedAvg", "MultiKrum")
"""Their cells come first, with all seeds: with them the page answers what most people ask."""
QUICK_RULES, QUICK_ATTACKS, QUICK_ROUNDS = ("FedAvg", "Robust"), ("none", "sign flip", "Min-Max"), 4


def matrix(rounds: int, seeds: Iterable[int]) -> Iterator[Cell]:
    """Yield every training of the page, the most telling ones first."""
    for seed, split in product(seeds, SPLITS):
        yield Cell(split=split, rule="FedAvg", attack=REMOVED, seed=seed, rounds=rounds)
    others = [rule for rule in RULES if rule not in FIRST]
    for rule, seed in (*product(FIRST, seeds), *((rule, seed) for seed in seeds for rule in others)):
        for split, attack in product(SPLITS, ATTACKS):
            yield Cell(split=split, rule=rule, attack=attack, seed=seed, rounds=rounds)


def read_results(path: Path) -> list[Cell]:
    """Return the trainings that have ended; a line that was cut off by a crash is not one."""
    cells = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        cells.append(Cell(**{key: math.nan if value is None else value for key, value in found.items()}))
    return cells


def line_of(cell: Cell) -> str:
    """Return a training as a line of the results."""
    rounded = {
        key: (None if math.isnan(value) else round(value, 2)) if isinstance(value, float) else value
        for key, value in asdict(cell).items()
    }
    return json.dumps(rounded) + "\n"


def in_groups(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Return the trainings that differ in the attack alone together: they share many of their rounds."""
    groups = dict[tuple[object, ...], list[Cell]]()
    for cell in cells:
        groups.setdefault((cell.attack == REMOVED, cell.rule, cell.seed, cell.split), []).append(cell)
    return list(groups.values())


def run(cells: Iterable[Cell], *, until: float, results: Path | None) -> list[Cell]:
    """Run trainings on as many processes as there are cores; begin none after `until`."""
    # A worker has one core: threads of the linear algebra that wait for one another would take the others'.
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), maxtasksperchild=3) as pool:
        work = partial(run_group, until=until, results=results)
        return [cell for group in pool.imap_unordered(work, in_groups(cells)) for cell in group]


def run_group(cells: list[Cell], *, until: float, results: Path | None) -> list[Cell]:
    """Run trainings one after another; write each down as it ends, in one piece."""
    ended = []
    for cell in cells:
        if time.time() > until:
            break
        done = run_cell(cell)
        ended.append(done)
        if results:
            with results.open("a", encoding="utf-8") as lines:
                lines.write(line_of(done))
        print(f"{done.split:10} {done.rule:15} {done.attack:18} {done.seed} {done.accuracy:6.1f}", flush=True)
    return ended


def main() -> None:
    """Run what is missing, show it, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no training after so long")
    parser.add_argument("--rules", default="", help="only these, joined by commas")
    parser.add_argument("--splits", default="", help="only these, joined by commas")
    parser.add_argument("--again", default="", metavar="RULE", help="forget the results of this rule first")
    parser.add_argument(
        "--quick", action="store_true", help="a few cells, few rounds; keeps and writes nothing"
    )
    parser.add_argument("--page", action="store_true", help="run nothing, write the page from the results")
    options = parser.parse_args()
    if options.quick:
        wanted = [
            cell
            for cell in matrix(QUICK_ROUNDS, SEEDS[:1])
            if cell.split == "alpha 0.3"
            and (cell.attack == REMOVED or (cell.rule in QUICK_RULES and cell.attack in QUICK_ATTACKS))
        ]
        cells = run(wanted, until=math.inf, results=None)
        print(f"\n{table(cells, 'alpha 0.3')}")
    else:
        cells = run_missing(options)
        write_page(cells, expected=sum(1 for _ in matrix(ROUNDS, SEEDS)))
    print(json.dumps({"cells": len(cells), "losses": most_lost(losses(cells))}))


def run_missing(options: argparse.Namespace) -> list[Cell]:
    """Run what has no result yet and write each down as it ends; return all results."""
    kept = [cell for cell in read_results(RESULTS) if cell.rule != options.again]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("".join(map(line_of, kept)), encoding="utf-8")
    done = {cell.key for cell in kept}
    rules, splits = (set(text.split(",")) - {""} for text in (options.rules, options.splits))
    wanted = [
        cell
        for cell in matrix(ROUNDS, SEEDS)
        if cell.key not in done
        and (not rules or cell.rule in rules or cell.attack == REMOVED)
        and (not splits or cell.split in splits)
    ]
    if not options.page:
        kept += run(wanted, until=time.time() + 60 * options.minutes, results=RESULTS)
    return kept


if __name__ == "__main__":
    main()
