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

COUNTS = pytest.StashKey[Counter]()
SECONDS = pytest.StashKey[dict]()


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
    if left is None or right is None:
        return left is right
    return _comparable(left) == _comparable(right)


def _comparable(checkpoint):
    """Return the whole content of a checkpoint as one comparable value."""
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
    counts = request.config.stash.setdefault(COUNTS, Counter())
    seconds = request.config.stash.setdefault(SECONDS, Counter())
    started = time.monotonic()
    counted = set()

    def add(name, number=1):
        counted.add(name)
        counts[name] += number

    yield add
    for name in counted:
        seconds[name] += time.monotonic() - started


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Count a failed test of a suite as a violation."""
    report = yield
    if report.failed and "count" in getattr(item, "fixturenames", ()):
        item.config.stash.setdefault(COUNTS, Counter())["violations"] += 1
    return report


def pytest_terminal_summary(terminalreporter, config):
    """Print the counts of the suites."""
    counts = config.stash.get(COUNTS, None)
    if not counts:
        return
    terminalreporter.section("checkpoint suites")
    violations = counts.pop("violations", 0)
    for name, number in sorted(counts.items()):
        terminalreporter.write_line(f"{name:<28}{number:>8}   {config.stash[SECONDS][name]:6.1f} s")
    terminalreporter.write_line(f"{'violations':<28}{violations:>8}")
