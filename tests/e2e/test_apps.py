"""Each ready-made app from its context in examples/: killed in the middle and resumed, the same model."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from oneflower.settings import read_context, use_case_of

from .recovery.simulated import simulate

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
ROUNDS = 4
WAIT_S = 240


def image_data(folder):
    images = np.random.default_rng(0).random((600, 28, 28), dtype=np.float32)
    np.savez(folder / "images.npz", x=images, y=np.arange(600) % 10)
    return {}


def table_data(folder):
    rows = np.random.default_rng(0).normal(5, 3, (2000, 9))
    np.savez(folder / "rows.npz", x=rows, y=np.arange(2000) % 20 == 0)
    return {}


def text_data(folder):
    sys.path.insert(0, str(ROOT / "tests" / "apps"))
    from tiny_model import write_pairs, write_tiny_model

    write_pairs(folder / "pairs.jsonl")
    return {"FL_BASE_MODEL": str(write_tiny_model(folder.parent / "tiny"))}


def classes_data(folder):
    rows = np.random.default_rng(0).normal(5, 3, (2000, 30))
    np.savez(folder / "rows.npz", x=rows, y=(rows.sum(1) > 150).astype(int))
    return {}


CASES = {
    "demo/context.sh": image_data,
    "use-cases/anomaly-detection.sh": table_data,
    "use-cases/tabular-classification.sh": classes_data,
    "use-cases/xgboost-bagging.sh": table_data,
    "use-cases/llm-fine-tuning.sh": text_data,
}


def sha256(output):
    return re.search(r"^SHA-256 +([0-9a-f]{64})$", output, re.MULTILINE)[1]


def finish(process):
    output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, output
    return sha256(output)


@pytest.mark.timeout(3 * WAIT_S)
@pytest.mark.parametrize("name", CASES)
def test_an_app_that_was_killed_with_all_its_processes_ends_with_the_same_model(name, up, tmp_path):
    needed = use_case_of(read_context(ROOT / "examples" / name)["FL_USE_CASE"])
    for package in needed.packages:
        pytest.importorskip(package)
    data = tmp_path / "data"
    data.mkdir()
    environ = {"ONEFLOWER_DATA": str(data), "FL_NUM_ROUNDS": str(ROUNDS), **CASES[name](data)}
    context = ROOT / "examples" / name

    process = up.start_context(context, environ=environ)
    up.wait_for("round_started", round=3)
    up.kill_everything(process)
    assert not up.events("training_finished")

    found = finish(up.start_context(context, environ=environ))
    (resumed,) = up.events("training_resumed")
    assert resumed.round in (2, 3)
    clients = read_context(context)["FL_MIN_FIT_CLIENTS"]
    undisturbed = simulate(tmp_path / "undisturbed", "--context", context, clients=clients, environ=environ)
    assert found == undisturbed
