"""A large model that is killed in the middle of its checkpoint ends with the bytes of one that never was."""

import argparse
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from large_models import kill_in_checkpoint

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


@pytest.mark.parametrize(
    ("model_mb", "arrays"), [(80, 8), pytest.param(200, 1, marks=pytest.mark.slow)], ids=["80", "200-in-one"]
)
def test_killed_in_the_middle_of_its_checkpoint_the_model_is_the_same(tmp_path, model_mb, arrays):
    """ServerApp and SuperLink die; the updates of the round are summed as they come, from a file."""
    given = argparse.Namespace(clients=2, arrays=arrays, strategy="FedAvg", streaming="auto")
    found = kill_in_checkpoint(tmp_path, given, model_mb, 0.4)
    assert found["inside"], found
    assert found["resumed_after"] == [1], found
    assert found["same"], found
