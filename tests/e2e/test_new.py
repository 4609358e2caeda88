"""`oneflower new` writes an app that trains on real Flower processes as it is, killed or not."""

import importlib.util
import re

import pytest
from typer.testing import CliRunner

from oneflower.cli.main import app as command

from .recovery.simulated import simulate

pytestmark = pytest.mark.e2e


def sha256(output):
    return re.search(r"^SHA-256 +([0-9a-f]{64})$", output, re.MULTILINE)[1]


PACKAGES = {
    "pytorch": "torch",
    "sklearn": "sklearn",
    "xgboost": "xgboost",
    "tensorflow": "keras",
    "jax": "jax",
}


@pytest.mark.timeout(720)
@pytest.mark.parametrize("framework", PACKAGES)
def test_a_new_app_trains_and_is_resumed_to_the_same_model(framework, up, tmp_path, monkeypatch):
    """The one in PyTorch with oneflower's helpers and FedProx; the others are stock apps."""
    if importlib.util.find_spec(PACKAGES[framework]) is None:
        pytest.skip(f"{PACKAGES[framework]} is not installed")
    if importlib.util.find_spec("tensorflow") is None:
        monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ONEFLOWER_DATA", raising=False)
    assert CliRunner().invoke(command, ["new", "new-app", "--framework", framework]).exit_code == 0
    given = {"NUM_ROUNDS": "4", "STRATEGY": "FedProx" if framework == "pytorch" else "app"}

    process = up.start(app="new-app", **given)
    up.wait_for("round_started", round=3)
    up.kill_everything(process)
    code, output = up.run(app="new-app", **given)
    assert code == 0, output
    (last,) = [e for e in up.events("round_completed") if e.round == 4]
    (accuracy,) = [each.value for each in last.metrics if each.measure.text == "central accuracy"]
    assert accuracy > 0.8
    environ = {f"FL_{name}": value for name, value in given.items()}
    undisturbed = simulate(tmp_path / "undisturbed", "--app", "new-app", clients=2, environ=environ)
    assert sha256(output) == undisturbed
