"""Measure what a round costs by the number of arrays that hold the same model, under `oneflower up`.

``python benchmarks/many_arrays.py``                           2, 300 and 2,000 arrays: 600,000 floats
``python benchmarks/many_arrays.py --arrays 1,2000 --values 2000``
``python benchmarks/many_arrays.py --plain``                   on stock Flower too, which packs nothing

Trainings alternate on one machine. Each counts with its median round, and the ratio is the result.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from oneflower.journal import read_journal
from oneflower.journal.events import RoundCompleted

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "e2e"))
NODES = 2


def seconds_a_round(
    folder: Path, app: Path, *, arrays: int, size: int, rounds: int, **variables: str
) -> list[float]:
    """Train once; return the seconds of each round."""
    folder.mkdir()
    environ = {
        **os.environ,
        "TEST_ARRAYS": str(arrays),
        "TEST_VALUES": str(size),
        "FL_NUM_ROUNDS": str(rounds),
        "FL_MIN_FIT_CLIENTS": str(NODES),
        "FL_MIN_EVALUATE_CLIENTS": str(NODES),
        "FL_MIN_AVAILABLE_CLIENTS": str(NODES),
        **variables,
    }
    command = [sys.executable, "-m", "oneflower.cli.main", "up", "--nodes", str(NODES), "--app", str(app)]
    command += ["--state", str(folder / "state"), "--no-dashboard", "--plain"]
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    entries = read_journal(folder / "state" / "journal.jsonl")
    return [entry.event.seconds for entry in entries if isinstance(entry.event, RoundCompleted)]


def main() -> None:
    """Train alternately and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arrays", default="2,300,2000", help="numbers of arrays; ratios are to the first")
    parser.add_argument("--values", type=int, default=600_000, help="floats in all arrays together")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--plain", action="store_true")
    given = parser.parse_args()
    from numpy_app import write_numpy_app

    counts = [int(each) for each in given.arrays.split(",")]
    stock = {"FL_FLOWER_WORKAROUNDS": "NO", "FL_WARM_EXECUTOR": "NO"}
    kinds = [(f"{count} arrays", count, {}) for count in counts]
    if given.plain:
        kinds += [(f"{count} arrays, stock Flower", count, stock) for count in counts]
    found: dict[str, list[float]] = {name: [] for name, _, _ in kinds}
    first: dict[str, list[float]] = {name: [] for name, _, _ in kinds}
    with tempfile.TemporaryDirectory() as folder:
        app = write_numpy_app(Path(folder) / "numpy-app")
        for turn in range(given.turns):
            for name, count, variables in kinds:
                rounds = seconds_a_round(
                    Path(folder) / f"{turn}-{name}",
                    app,
                    arrays=count,
                    size=given.values // count,
                    rounds=given.rounds,
                    **variables,
                )
                first[name].append(rounds[0])
                found[name] += rounds[1:]
    base = kinds[0][0]
    print(f"{given.values} floats, {NODES} nodes; relative to {base}, {median(found[base]):.2f} s a round:")
    for name, _, _ in kinds:
        print(
            f"  {name:28} x{median(found[name]) / median(found[base]):.2f} a round, "
            f"x{median(first[name]) / median(first[base]):.2f} the first"
        )


if __name__ == "__main__":
    main()
