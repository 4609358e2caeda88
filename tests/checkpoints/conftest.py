"""Shared fixtures of the checkpoint tests, and the counts that they print at the end of a run."""

import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from oneflower.checkpoints import Checkpoint
from oneflower.checkpoints.npz import npz_pieces

COUNTS = "counts of a checkpoint suite"


def make(number, *, size=8, state=True, fill=0.0, **changes):
    """Return a small checkpoint whose every number depends on its round and on `fill`."""
    rng = np.random.default_rng((number, int(fill * 1000)))
    arrays = {
        "conv.weight": rng.normal(size=(size, 3)).astype(np.float32),
        "bn.num_batches_tracked": np.array(number, dtype=np.int64),
        "fc.bias": rng.normal(size=size),
    }
    moments = {f"{kind}/fc.bias": rng.normal(size=size) for kind in "mv"} if state else {}
    fields = {
        "round": number,
        "total_rounds": 10,
        "arrays": arrays,
        "state": moments,
        "strategy": "FedAdam" if state else "FedAvg",
        "parameters": {"server-lr": 0.1} if state else {},
        "app": "image-classification",
        "seed": 42,
        "metrics": {"central": {str(n): {"accuracy": n / 100, "loss": 1 / n} for n in range(1, number + 1)}},
        "versions": {"flower": "1.25.0", "oneflower": "0.1.0"},
    }
    return Checkpoint(**(fields | changes))


def same(left, right):
    """Tell whether two checkpoints are equal to the last bit, order of arrays included."""
    return told(left) == told(right)


def told(checkpoint):
    """Return everything that a checkpoint holds as one comparable value; None for None."""
    if checkpoint is None:
        return None
    arrays = [
        (name, array.dtype.str, array.shape, array.tobytes())
        for group in (checkpoint.arrays, checkpoint.state)
        for name, array in group.items()
    ]
    names = ("round", "total_rounds", "strategy", "parameters", "app", "seed", "metrics", "versions")
    return arrays, [repr(getattr(checkpoint, name)) for name in names]


def kept(root, checkpoint):
    """Return whether the folder still holds a checkpoint's complete model, under any name."""
    model = b"".join(npz_pieces(checkpoint.arrays))
    return any(path.read_bytes() == model for path in root.iterdir() if path.is_file())


@pytest.fixture(name="kept")
def _kept():
    return kept


@pytest.fixture(name="make")
def _make():
    return make


@pytest.fixture(name="same")
def _same():
    return same


@pytest.fixture
def root(tmp_path):
    return tmp_path / "checkpoints"


@pytest.fixture
def scratch(tmp_path):
    """Return a folder on a memory file system if there is one: the suites create thousands of folders."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else tmp_path, prefix="oneflower-test-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def count(request):
    """Return a function that adds to a named count of the summary: `count("kills")`."""
    counts, started = Counter(), time.monotonic()
    yield lambda name, number=1: counts.update({name: number})
    # Reports carry it from the workers of pytest-xdist, too.
    seconds = time.monotonic() - started
    request.node.user_properties.append(
        (COUNTS, {name: (number, seconds) for name, number in counts.items()})
    )


def pytest_terminal_summary(terminalreporter):
    """Print what the suites did; a failed test of a suite is a violation."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    told = {
        report.nodeid: dict(report.user_properties)[COUNTS]
        for report in reports
        if COUNTS in dict(getattr(report, "user_properties", ()))
    }
    if not told:
        return
    terminalreporter.section("checkpoint suites")
    for name in sorted({name for counts in told.values() for name in counts}):
        numbers, seconds = zip(*(counts[name] for counts in told.values() if name in counts), strict=True)
        terminalreporter.write_line(f"{name:<28}{sum(numbers):>8}   {sum(seconds):6.1f} s")
    failed = {report.nodeid for report in reports if getattr(report, "failed", False)} & set(told)
    terminalreporter.write_line(f"{'violations':<28}{len(failed):>8}")
