"""The warnings of a training that adopts a checkpoint."""

import numpy as np

from oneflower.checkpoints import ModelSchema, adopt


def test_the_same_training_adopts_everything_without_a_warning(make, same):
    taken = adopt(make(3), strategy="FedAdam", seed=42, app="image-classification")
    assert same(taken.checkpoint, make(3))
    assert (taken.state_fresh, taken.warnings) == (False, ())


def test_another_strategy_adopts_the_weights_and_resets_the_optimizer_state(make):
    taken = adopt(make(3), strategy="FedAvg", seed=42, app="image-classification")
    assert taken.state_fresh
    assert dict(taken.checkpoint.state) == {}
    assert taken.checkpoint.arrays["fc.bias"].tobytes() == make(3).arrays["fc.bias"].tobytes()
    (warning,) = taken.warnings
    assert "made by FedAdam, this training runs FedAvg" in warning
    assert "optimizer state starts fresh" in warning


def test_another_seed_or_app_is_adopted_with_a_warning(make):
    taken = adopt(make(3), strategy="FedAdam", seed=1, app="other")
    assert not taken.state_fresh
    assert [
        "seed 42, this training 1" in w or "app image-classification, this training other" in w
        for w in taken.warnings
    ] == [True, True]


def test_schemas_differ_by_name_shape_and_dtype():
    here = ModelSchema.of({"a": np.zeros(3), "b": np.zeros(2, np.float32), "c": np.array(1)})
    there = ModelSchema.of({"a": np.zeros(3), "b": np.zeros(2), "d": np.array(1)})
    assert here.differences(here) == []
    assert here.differences(there) == [
        "c: not in the checkpoint",
        "d: only in the checkpoint",
        "b: shape [2] <f4 here, shape [2] <f8 in the checkpoint",
    ]
