"""Measure the cost of a checkpoint: how long the round loop waits, and how fast the bytes reach the disk.

    python benchmarks/checkpoint.py                          # 1 MB, 100 MB and 1 GB, some minutes
    python benchmarks/checkpoint.py --sizes 100 --folder DIR # one size, on the disk of DIR

All sides write the same float32 model (eight equal arrays) alternately, in one process, to one disk, each
time to a new file. A ratio is the median of the repetitions' ratios, so that both sides of it ran at the
same time. "Stands still" is the time that the round loop waits: for `numpy.savez` and `torch.save` the
whole write and fsync, for oneflower the hand-over to its writer. "Work beside" is how much longer the same
computation takes while a checkpoint is written. The plain write is `os.write` and `os.fsync` of the same
bytes, without the hash, CRC, rename and manifest of a commit of oneflower.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import torch

from oneflower.checkpoints import BackgroundWriter, Checkpoint, CheckpointStore, retention_of

SIZES_MB = (1, 100, 1000)
REPEATS = {1: 25, 100: 15, 1000: 5}
ARRAYS = 8
MB = 1_000_000
COLUMNS = {
    "savez_ms": "savez+fsync ms",
    "torch_ms": "torch.save+fsync ms",
    "stall_ms": "ours stands still ms",
    "commit_ms": "ours commit ms",
    "plain_ms": "plain write+fsync ms",
    "beside": "work beside",
}


def model(size_mb: int) -> dict[str, np.ndarray]:
    """Return a float32 model of the given number of megabytes."""
    rng = np.random.default_rng(0)
    values = size_mb * MB // 4 // ARRAYS
    return {f"layer{index}.weight": rng.standard_normal(values, dtype=np.float32) for index in range(ARRAYS)}


class Side:
    """The writers of the model; each call writes a new file, which is removed outside the timing."""

    def __init__(self, arrays: dict[str, np.ndarray], folder: Path) -> None:
        self.arrays = arrays
        self.tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self.folder = folder
        self.store = CheckpointStore(folder / "checkpoints", retention=retention_of(0)).open()
        self.number = 0

    def savez(self, path: Path) -> None:
        """Write as a training without this project might."""
        with path.open("wb") as file:
            np.savez(file, **self.arrays)
            file.flush()
            os.fsync(file.fileno())

    def torch_save(self, path: Path) -> None:
        """Write as a PyTorch training does."""
        with path.open("wb") as file:
            torch.save(self.tensors, file)
            file.flush()
            os.fsync(file.fileno())

    def plain(self, path: Path) -> None:
        """Write only the same bytes."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        for array in self.arrays.values():
            view = memoryview(array).cast("B")
            while view:
                view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
        os.close(descriptor)

    def checkpoint(self) -> Checkpoint:
        """Return the model as the next round's checkpoint."""
        self.number += 1
        return Checkpoint(
            round=self.number,
            total_rounds=1,
            arrays=self.arrays,
            strategy="FedAvg",
            parameters={},
            app="benchmark",
            seed=0,
        )

    def clear(self) -> None:
        """Remove the committed files: each commit starts with an empty folder, like the other sides."""
        self.store.close()
        shutil.rmtree(self.folder / "checkpoints")
        self.store.open()


@contextmanager
def clock(times: list[float]) -> Iterator[None]:
    """Append the seconds that the block takes."""
    started = time.perf_counter()
    yield
    times.append(time.perf_counter() - started)


def timed_file(write: Callable[[Path], None], folder: Path, times: list[float]) -> None:
    """Time one write of a new file."""
    path = folder / "file"
    with clock(times):
        write(path)
    path.unlink()


def work(seconds: float) -> Callable[[], None]:
    """Return a computation of about the given seconds: matrix products, as in a training."""
    matrix = np.random.default_rng(1).standard_normal((300, 300), dtype=np.float32)
    once: list[float] = []
    for _ in range(5):
        with clock(once):
            matrix @ matrix
    count = max(1, int(seconds / min(once)))

    def run() -> None:
        for _ in range(count):
            matrix @ matrix

    return run


def measure(size_mb: int, repeats: int, folder: Path) -> dict[str, list[float]]:
    """Return the seconds of every side for one model size."""
    side = Side(model(size_mb), folder)
    times: dict[str, list[float]] = {
        name: [] for name in ("savez", "torch", "stall", "commit", "plain", "alone", "with")
    }
    failures: list[Exception] = []
    writer = BackgroundWriter(
        side.store, on_saved=lambda _: None, on_failed=lambda _, error: failures.append(error)
    )
    side.store.save(side.checkpoint())
    side.clear()
    for _ in range(repeats):
        timed_file(side.plain, folder, times["plain"])
        with clock(times["commit"]):
            side.store.save(side.checkpoint())
        side.clear()
        timed_file(side.savez, folder, times["savez"])
        timed_file(side.torch_save, folder, times["torch"])
        with clock(times["stall"]):
            writer.submit(side.checkpoint())
        writer.wait()
        side.clear()
        compute = work(2 * times["commit"][-1])
        with clock(times["alone"]):
            compute()
        writer.submit(side.checkpoint())
        with clock(times["with"]):
            compute()
        writer.wait()
        side.clear()
    side.store.close()
    if failures:
        raise failures[0]
    return times


def ratio(times: dict[str, list[float]], theirs: str, ours: str) -> float:
    """Return the median of theirs/ours over the repetitions."""
    return median(their / our for their, our in zip(times[theirs], times[ours], strict=True))


def main() -> None:
    """Print a table, and with --json a last line of ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES_MB, metavar="MB")
    parser.add_argument("--repeats", type=int, help="repetitions of each size")
    parser.add_argument(
        "--folder", type=Path, help="a folder on the disk to measure (default: a temporary folder)"
    )
    parser.add_argument("--json", action="store_true", help="end with one line of ratios")
    arguments = parser.parse_args()
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, PyTorch {torch.__version__}"
    print(f"{platform.machine()}, {os.cpu_count()} cores, {versions}")
    print(f"{'size':>8}" + "".join(f"{title:>22}" for title in COLUMNS.values()))
    ratios: dict[str, float] = {}
    for size_mb in arguments.sizes:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            times = measure(size_mb, arguments.repeats or REPEATS.get(size_mb, 7), Path(folder))
        cells = {f"{name}_ms": f"{1000 * median(values):.1f}" for name, values in times.items()}
        cells["stall_ms"] = f"{1000 * median(times['stall']):.3f}"
        cells["beside"] = f"x {median(a / b for a, b in zip(times['with'], times['alone'], strict=True)):.2f}"
        print(f"{size_mb:>5} MB" + "".join(f"{cells[name]:>22}" for name in COLUMNS), flush=True)
        ratios |= {
            f"stall_savez_{size_mb}MB": ratio(times, "savez", "stall"),
            f"stall_torch_{size_mb}MB": ratio(times, "torch", "stall"),
            f"commit_savez_{size_mb}MB": ratio(times, "savez", "commit"),
            f"write_rate_{size_mb}MB": ratio(times, "plain", "commit"),
        }
    for name, value in ratios.items():
        print(f"{name:<24}{value:10.2f}")
    if arguments.json:
        print(json.dumps({"ratios": {name: round(value, 4) for name, value in ratios.items()}}))


if __name__ == "__main__":
    sys.exit(main())
