"""The programs that Flower starts by name."""

import subprocess
import sys

import pytest
from flwr.supercore.superexec.plugin import ServerAppExecPlugin

from oneflower.flower.programs import TOKEN_VARIABLE
from oneflower.flower.v1_25.workarounds import own_programs


@pytest.fixture
def commands(monkeypatch):
    """Start nothing; return what would have been started."""
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **how: started.append((command, how.get("env"))))
    return started


def launch_a_serverapp():
    plugin = ServerAppExecPlugin(appio_api_address="h:1", flwr_dir="/dir", get_run=None)
    plugin.launch_app(token="token", run_id=1)


def test_flower_starts_its_own_program_by_name(commands):
    launch_a_serverapp()
    assert commands[0][0][0] == "flwr-serverapp"


def test_it_is_started_through_the_launcher_and_its_token_is_in_no_argument(commands, monkeypatch):
    """Every user of the machine reads the arguments of every process, and the token opens the AppIo API."""
    launch_a_serverapp()
    own_programs.SUPEREXEC.apply(monkeypatch.setattr)
    launch_a_serverapp()
    (stock, _), (ours, environ) = commands
    same = [argument for argument in stock[1:] if argument not in ("--token", "token")]
    assert ours == [sys.executable, "-P", "-m", "oneflower.stock.launch", "serverapp", *same]
    assert environ[TOKEN_VARIABLE] == "token"


def test_a_program_that_is_not_flowers_is_left_alone(commands):
    own_programs.Launching.Popen(["true", "--flag"])
    assert commands == [(["true", "--flag"], None)]


def test_superexec_is_watched(monkeypatch):
    """A superexec that died is never started again by Flower: messages are never processed."""
    watched = []
    monkeypatch.setattr(own_programs, "keep_running", lambda command, **_: watched.append(command))
    own_programs.Launching.Popen(["flower-superexec", "--insecure"])
    assert watched[0][-2:] == ["superexec", "--insecure"]
