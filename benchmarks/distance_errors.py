"""The largest relative error of a squared distance, against the exact one in float64 or longer.

``python benchmarks/distance_errors.py [--sets N]``

Updates around a model with weights of 1, 1e-4 to 1 apart. The last line is JSON.
"""

import argparse
import json

import numpy as np

from oneflower.aggregation import Update
from oneflower.aggregation.distances import squared_distances

SIZES = (10, 1_000, 100_000, 1_000_000)


def largest_error(dtype: type, size: int, sets: int) -> float:
    """Return the largest relative error over all pairs of some sets of ten updates."""
    rng, largest = np.random.default_rng(size), 0.0
    for _ in range(sets):
        apart = 10.0 ** rng.uniform(-4, 0)
        base = rng.standard_normal(size)
        rows = [(base + apart * rng.standard_normal(size)).astype(dtype) for _ in range(10)]
        ours = squared_distances([Update(client=i, arrays={"w": row}) for i, row in enumerate(rows)])
        for i, row in enumerate(rows):
            for j in range(i):
                exact = float(np.sum(np.square(row.astype(np.longdouble) - rows[j].astype(np.longdouble))))
                if exact:
                    largest = max(largest, abs(ours[i, j] - exact) / exact)
    return largest


def main() -> None:
    """Print a row a size, and all as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", type=int, default=100, help="sets of ten updates; fewer of large ones")
    sets = parser.parse_args().sets
    print("| values | float16 | float32 | float64 |\n|---|---|---|---|")
    errors: dict[str, dict[str, float]] = {}
    for size in SIZES:
        row = {
            dtype.__name__: largest_error(dtype, size, max(2, min(sets, sets * 1_000 // size)))
            for dtype in (np.float16, np.float32, np.float64)
        }
        errors[str(size)] = row
        print(f"| {size} | {' | '.join(f'{error:.1e}' for error in row.values())} |", flush=True)
    print(json.dumps({"errors": errors}))


if __name__ == "__main__":
    main()
