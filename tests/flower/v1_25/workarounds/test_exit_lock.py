"""A program that is told to stop while it is stopping."""

import subprocess
import sys

import pytest

# The last heartbeat of a ServerApp fails while its exit handlers run, and raises SIGINT.
PROGRAM = """
import signal, sys
from flwr.common.exit import add_exit_handler, flwr_exit, register_signal_handlers
from flwr.common.telemetry import EventType
from oneflower.flower.v1_25.workarounds.serverapp_end import EXIT_LOCK
if sys.argv[1] == "with":
    EXIT_LOCK.apply(setattr)
calls = []
def on_exit():
    calls.append(1)
    if len(calls) == 1:
        signal.raise_signal(signal.SIGINT)
    print("stopped", flush=True)
register_signal_handlers(EventType.PING, exit_handlers=[on_exit])
flwr_exit(0)
"""


def run(how, timeout_s):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, timeout=timeout_s, check=False
    )


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "0")


def test_flower_waits_for_itself_for_ever():
    """B5: the run stays `running`, because its last status is never sent."""
    with pytest.raises(subprocess.TimeoutExpired):
        run("without", 6)


def test_the_program_stops():
    result = run("with", 60)
    assert "stopped" in result.stdout
    assert result.returncode == 0
