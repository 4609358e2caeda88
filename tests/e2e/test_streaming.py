"""The streaming mean on real processes: one model with a simulation, and the memory of the ServerApp."""

import re
import sys
from pathlib import Path

import pytest

from .recovery.simulated import simulated_sha256

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from server_memory import measure

pytestmark = pytest.mark.e2e

STREAMING = {"STREAMING_MEAN": "YES", "NUM_ROUNDS": "2"}
VALUES = 70_000


def test_a_cluster_and_a_simulation_sum_to_the_same_bytes(up, numpy_app, tmp_path):
    """Over the Fleet API replies come in pieces, into a file; in a simulation they are in memory first."""
    code, output = up.run(environ={"TEST_VALUES": str(VALUES)}, **STREAMING)
    assert code == 0, output
    assert "updates are summed as they come" in (up.state / "logs" / "superlink.log").read_text()
    expected = simulated_sha256(tmp_path / "simulated", numpy_app, clients=2, values=VALUES, **STREAMING)
    assert re.findall("[0-9a-f]{64}", output)[-1] == expected


@pytest.mark.slow
def test_the_serverapp_holds_three_models_whatever_the_number_of_clients(tmp_path):
    """Ten clients with 50 MB each. Kept until all have come, the updates alone are ten models."""
    found = measure(tmp_path, clients=10, model_mb=50, array_mb=10, rounds=2, streaming="YES")
    assert found["peak_mb"] <= 3 * 50 + 200, found
