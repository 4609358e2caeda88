"""`oneflower new` writes an app that trains on real Flower processes as it is, killed or not."""

import re

import pytest
from typer.testing import CliRunner

from oneflower.cli.main import app as command

pytestmark = pytest.mark.e2e


def sha256(output):
    return re.search(r"^SHA-256 +([0-9a-f]{64})$", output, re.MULTILINE)[1]


@pytest.mark.timeout(720)
def test_a_new_app_trains_and_is_resumed_to_the_same_model(up, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ONEFLOWER_DATA", raising=False)
    assert CliRunner().invoke(command, ["new", "new-app"]).exit_code == 0
    given = {"app": "new-app", "NUM_ROUNDS": "4", "STRATEGY": "FedProx"}
    code, output = up.run(**given)
    assert code == 0, output
    (last,) = [e for e in up.events("round_completed") if e.round == 4]
    (accuracy,) = [each.value for each in last.metrics if each.measure.text == "central accuracy"]
    assert accuracy > 0.8
    up.state.rename(up.state.with_name("undisturbed"))

    process = up.start(**given)
    up.wait_for("round_started", round=3)
    up.kill_everything(process)
    code, resumed = up.run(**given)
    assert code == 0, resumed
    assert sha256(resumed) == sha256(output)
