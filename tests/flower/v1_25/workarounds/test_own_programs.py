"""The programs that Flower starts by name."""

import subprocess
import sys

import pytest
from flwr.supercore.superexec.plugin import ServerAppExecPlugin

from oneflower.flower.v1_25.workarounds import own_programs


@pytest.fixture
def commands(monkeypatch):
    """Start nothing; return what would have been started."""
    started = []
    monkeypatch.setattr(subprocess, "Popen", started.append)
    return started


def launch_a_serverapp():
    plugin = ServerAppExecPlugin(appio_api_address="h:1", flwr_dir="/dir", get_run=None)
    plugin.launch_app(token="token", run_id=1)


def test_flower_starts_its_own_program_by_name(commands):
    launch_a_serverapp()
    assert commands[0][0] == "flwr-serverapp"


def test_it_is_started_through_the_launcher_with_the_same_arguments(commands, monkeypatch):
    launch_a_serverapp()
    own_programs.SUPEREXEC.apply(monkeypatch.setattr)
    launch_a_serverapp()
    stock, ours = commands
    assert ours == [sys.executable, "-P", "-m", "oneflower.flower.launch", "serverapp", *stock[1:]]


def test_a_program_that_is_not_flowers_is_left_alone(commands):
    own_programs.Launching.Popen(["true", "--flag"])
    assert commands == [["true", "--flag"]]


def test_superexec_is_watched(monkeypatch):
    """A superexec that died is never started again by Flower: messages are never processed."""
    watched = []
    monkeypatch.setattr(own_programs, "keep_running", lambda command, **_: watched.append(command))
    own_programs.Launching.Popen(["flower-superexec", "--insecure"])
    assert watched[0][-2:] == ["superexec", "--insecure"]
