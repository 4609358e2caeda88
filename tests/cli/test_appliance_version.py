"""A stage of the appliance refuses another Flower before it writes anything; nothing runs here."""

import pytest

from oneflower.cli import appliance
from oneflower.errors import FlowerVersionError


@pytest.mark.parametrize("stage", [appliance.configure, appliance.bootstrap])
def test_a_stage_refuses_another_flower_and_writes_nothing(monkeypatch, stage):
    def refuse():
        raise FlowerVersionError("Flower 1.42.0 is installed in /v")

    def fail(*_, **__):
        pytest.fail("a stage went on")

    monkeypatch.setattr(appliance, "require_deployed", refuse)
    for name in ("keep_environment", "schedule", "run_configure", "run_bootstrap"):
        monkeypatch.setattr(appliance, name, fail)
    monkeypatch.setattr(appliance, "call_off", lambda _: None)
    monkeypatch.setattr(appliance, "access_from", lambda _: None)
    with pytest.raises(FlowerVersionError):
        stage(role=appliance.Machine.SUPERLINK)
