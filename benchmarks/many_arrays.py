"""Measure the cost of many small arrays, compared with one array of the same bytes, under `oneflower up`.

``python benchmarks/many_arrays.py``                           300 arrays of 1,000 floats, 2 nodes
``python benchmarks/many_arrays.py --arrays 2000 --size 1``
``python benchmarks/many_arrays.py --plain``                   both on stock Flower too, which packs nothing

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
    parser.add_argument("--arrays", type=int, default=300)
    parser.add_argument("--size", type=int, default=1000, help="floats in each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--plain", action="store_true")
    given = parser.parse_args()
    from numpy_app import write_numpy_app

    whole, many = (1, given.arrays * given.size), (given.arrays, given.size)
    stock = {"FL_FLOWER_WORKAROUNDS": "NO", "FL_WARM_EXECUTOR": "NO"}
    kinds: dict[str, tuple[tuple[int, int], dict[str, str]]] = {
        "one array": (whole, {}),
        "packed": (many, {}),
    }
    if given.plain:
        kinds |= {"one array, stock Flower": (whole, stock), "stock Flower": (many, stock)}
    found: dict[str, list[float]] = {name: [] for name in kinds}
    first: dict[str, list[float]] = {name: [] for name in kinds}
    with tempfile.TemporaryDirectory() as folder:
        app = write_numpy_app(Path(folder) / "numpy-app")
        for turn in range(given.turns):
            for name, ((arrays, size), variables) in kinds.items():
                rounds = seconds_a_round(
                    Path(folder) / f"{turn}-{name}",
                    app,
                    arrays=arrays,
                    size=size,
                    rounds=given.rounds,
                    **variables,
                )
                first[name].append(rounds[0])
                found[name] += rounds[1:]
    base = median(found["one array"]), median(first["one array"])
    print(f"{given.arrays} arrays of {given.size} floats, {NODES} nodes; relative to one array:")
    for name in kinds:
        print(
            f"  {name:24} x{median(found[name]) / base[0]:.2f} a round, "
            f"x{median(first[name]) / base[1]:.2f} the first"
        )


if __name__ == "__main__":
    main()
