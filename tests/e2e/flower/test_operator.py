"""The stock `flwr` command: a run submitted by hand, on the machine of the SuperLink and from another."""

import json
import os
import subprocess

import pytest

from .conftest import PROJECT, SCRIPTS

pytestmark = pytest.mark.e2e
NO_TELEMETRY = {"FLWR_TELEMETRY_ENABLED": "0"}
TOKEN = "7f3a9c51e08b6d247f3a9c51e08b6d24"


@pytest.fixture
def flwr(federation):
    """Run `flwr` in the app's folder, with a federation of these settings."""

    def run(*words, **settings):
        app = federation.folder / "app"
        lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        table = "\n".join(["[tool.flwr.federations.here]", *lines])
        (app / "pyproject.toml").write_text(f"{PROJECT}{table}\n", encoding="utf-8")
        output = federation.folder / "flwr-output"
        with output.open("w", encoding="utf-8") as written:
            process = subprocess.Popen(
                [SCRIPTS / "flwr", words[0], ".", "here", *words[1:], "--format", "json"],
                cwd=app,
                env={**os.environ, "FLWR_HOME": str(federation.folder / "flwr"), **NO_TELEMETRY},
                stdout=written,
                stderr=subprocess.STDOUT,
            )
        try:
            process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            process.kill()  # it has answered, and does not end: docs/flower-workarounds.md
            process.wait(timeout=30)
        answer = output.read_text(encoding="utf-8")
        assert '"success": ' in answer, answer
        return '"success": true' in answer, answer

    return run


def test_the_superlinks_user_submits_a_run_through_its_socket(federation, flwr):
    federation.superlink()
    federation.supernode(0)
    success, output = flwr(
        *("run", "--run-config", f'results="{federation.results}"'),
        address=federation.socket("control"),
        insecure=True,
    )
    assert success, output
    federation.until(lambda: [run.outcome for run in federation.control.runs()] == ["completed"])
    success, output = flwr("ls", address=federation.socket("control"), insecure=True)
    assert success, output
    success, output = flwr("ls", address=federation.at("control"), insecure=True)
    assert not success, "nothing listens on the port"


def test_from_another_machine_flwr_presents_the_token(federation, flwr):
    """A file with FL_CONTROL_TOKEN stands where `flwr login` would put the token of an account."""
    tls = federation.certificates()
    federation.superlink(tls=tls, public=True, FL_CONTROL_TOKEN=TOKEN)
    remote = {"address": federation.at("control"), "root-certificates": str(tls.ca)}
    success, output = flwr("ls", **remote)
    assert not success
    assert "Authentication failed" in output
    folder = federation.folder / "app" / ".flwr" / ".credentials"
    folder.mkdir(parents=True, exist_ok=True)
    for token, expected in (("x" * 32, False), (TOKEN, True)):
        content = {"authn-type": "oidc", "flwr-oidc-access-token": token, "flwr-oidc-refresh-token": "-"}
        (folder / "here.json").write_text(json.dumps(content), encoding="utf-8")
        success, output = flwr("ls", **remote, **{"enable-account-auth": True})
        assert success is expected, output
