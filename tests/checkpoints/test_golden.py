"""Checkpoints of each schema, kept in tests/data: every later version loads them bit for bit.

They were written once, by the first release of the schema, and are never written again: a change that breaks
this test breaks the resume of trainings that are running somewhere. `python tests/checkpoints/test_golden.py`
wrote those of schema 2.
"""

import math
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from oneflower.checkpoints import Checkpoint, CheckpointReader, CheckpointStore

GOLDEN = Path(__file__).parents[1] / "data" / "checkpoints-schema-1"
GOLDEN_2 = Path(__file__).parents[1] / "data" / "checkpoints-schema-2"

WITH_STATE = Checkpoint(
    round=3,
    total_rounds=5,
    arrays={
        "conv.weight": np.arange(24, dtype="<f4").reshape(2, 3, 2, 2) / 7,
        "bn.num_batches_tracked": np.array(123456789012, dtype="<i8"),
        "bn.running_mean": np.array([0.1, -0.0, math.nan, math.inf], dtype="<f8"),
        "mask": np.array([[True], [False]]),
        "half": np.array([1.5, -2.25], dtype="<f2"),
        "empty": np.zeros((0, 4), dtype="<f4"),
        "größe": np.array([7], dtype="|u1"),
    },
    state={
        "m/conv.weight": np.full((2, 3), 0.25, dtype="<f4"),
        "v/conv.weight": np.full((2, 3), 1e-9, dtype="<f4"),
    },
    strategy="FedAdam",
    parameters={"server-lr": 0.1, "client-lr": 0.01},
    app="image-classification",
    seed=4294967295,
    metrics={
        "train": {"1": {"train_loss": 2.5}, "2": {"train_loss": math.nan}, "3": {"train_loss": 0.1 + 0.2}},
        "evaluate": {"1": {"accuracy": 0.5, "per_class": [0.25, math.inf]}},
        "central": {"3": {"accuracy": 0.875, "loss": 0.4, "examples": 1000}},
    },
    versions={"flower": "1.25.0", "oneflower": "0.1.0"},
)
WITHOUT_STATE = Checkpoint(
    round=10,
    total_rounds=10,
    arrays={"w": np.array([[1.0, 2.0], [3.0, 4.0]], dtype="<f4"), "be": np.array([1.0], dtype=">f8")},
    strategy="FedAvg",
    parameters={},
    app="anomaly-detection",
    seed=0,
)
DIGESTS = {
    3: "4f6e11b09378bab3625c2b00391efca87376ab3fd792b18e59e585277592933b",
    10: "daead8b6fe881b86a19a521c337f77e0ab975cafc5c8f01e848c8ce569b8eeba",
}


def test_checkpoints_of_schema_1_load_bit_for_bit(same):
    reader = CheckpointReader(GOLDEN)
    assert reader.rounds() == (3, 10)
    assert same(reader.load(3), WITH_STATE)
    assert same(reader.load(10), WITHOUT_STATE)


def test_the_digests_of_schema_1_are_those_of_its_files():
    reader = CheckpointReader(GOLDEN)
    assert {number: reader.verify(number).model.sha256 for number in (3, 10)} == DIGESTS


def test_a_training_resumes_from_a_folder_of_schema_1(tmp_path, same, make):
    """It continues in the current schema, with all metrics so far."""
    root = tmp_path / "c"
    shutil.copytree(GOLDEN, root)
    with CheckpointStore(root) as store:
        assert same(store.latest(), WITHOUT_STATE)
        store.save(make(11))
        assert same(store.latest(), make(11))
        store.rollback(3)
        assert same(store.latest(), WITH_STATE)
        metrics = {"train": {"4": {"train_loss": 1.5}}}
        store.save(make(4, metrics=metrics))
        assert repr(store.latest().metrics) == repr(
            WITH_STATE.metrics | {"train": WITH_STATE.metrics["train"] | metrics["train"]}
        )
        assert store.metrics_problem(4) is None
        assert store.best().round == 3
    assert same(CheckpointReader(root).load(3), WITH_STATE)


def later(number, **metrics):
    """Return the round after the one with an optimizer state, with the metrics since."""
    return replace(WITH_STATE, round=number, arrays={"w": np.arange(number, dtype="<f4")}, metrics=metrics)


ROLLED_BACK = later(4, train={"4": {"train_loss": 9.0}})
NEWEST = later(
    4, train={"4": {"train_loss": 1.5}}, central={"4": {"accuracy": 0.5, "per_class": [0.25, 1.0]}}
)
NOTED = {"evaluate": {"4": {"eval_acc": math.inf}}}


def write_schema_2(root):
    """Write a folder with every feature of the schema: a history with an abandoned branch, and a note."""
    with CheckpointStore(root, now=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) as store:
        for checkpoint in (WITH_STATE, ROLLED_BACK):
            store.save(checkpoint)
        store.rollback(3)
        store.save(NEWEST)
        store.note(NOTED)
    (root / ".checkpoint.lock").unlink()


def metrics_of_schema_2():
    return {
        "train": {**WITH_STATE.metrics["train"], **NEWEST.metrics["train"]},
        "evaluate": {**WITH_STATE.metrics["evaluate"], **NOTED["evaluate"]},
        "central": {**WITH_STATE.metrics["central"], **NEWEST.metrics["central"]},
    }


def test_checkpoints_of_schema_2_load_bit_for_bit(same):
    reader = CheckpointReader(GOLDEN_2)
    assert reader.rounds() == (3, 4)
    assert same(reader.load(3), WITH_STATE)
    assert same(reader.load(4), replace(NEWEST, metrics=metrics_of_schema_2()))
    assert [reader.metrics_problem(number) for number in (3, 4)] == [None, None]


def test_the_same_training_still_writes_the_same_folder_of_schema_2(tmp_path):
    write_schema_2(tmp_path / "c")
    written = {path.name: path.read_bytes() for path in (tmp_path / "c").iterdir()}
    assert written == {path.name: path.read_bytes() for path in GOLDEN_2.iterdir()}


def test_a_training_resumes_from_a_folder_of_schema_2(tmp_path, make):
    shutil.copytree(GOLDEN_2, tmp_path / "c", symlinks=True)
    with CheckpointStore(tmp_path / "c") as store:
        assert store.best().round == 3
        store.save(make(5, metrics={"train": {"5": {"train_loss": 1.0}}}))
        assert list(store.latest().metrics["train"]) == ["1", "2", "3", "4", "5"]


def test_the_same_checkpoint_still_writes_the_same_model_file(tmp_path):
    """The digest of a model is part of the schema: it may not change between versions."""
    with CheckpointStore(tmp_path) as store:
        assert {c.round: store.save(c).sha256 for c in (WITH_STATE, WITHOUT_STATE)} == DIGESTS


if __name__ == "__main__":
    write_schema_2(GOLDEN_2)
