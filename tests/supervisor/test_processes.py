"""The processes of one SuperLink are told from all others by the ports that they were told."""

import signal
import subprocess
import sys
import time

import pytest

from oneflower.procfs import Identity, identify
from oneflower.supervisor.processes import FlowerProcesses

LAUNCH = ["python", "-P", "-m", "oneflower.flower.launch"]


def who(pid):
    return Identity(pid=pid, start_ticks=1)


SUPERLINK = [
    *LAUNCH,
    "superlink",
    "--control-api-address",
    "0.0.0.0:1003",
    "--serverappio-api-address",
    "h:1001",
]
MACHINE = {
    1: ["/sbin/init"],
    2: SUPERLINK,
    3: [*LAUNCH, "superexec", "--plugin-type", "serverapp", "--appio-api-address", "127.0.0.1:1001"],
    4: [*LAUNCH, "serverapp", "--serverappio-api-address", "127.0.0.1:1001", "--token", "x"],
    5: [*LAUNCH, "superlink", "--control-api-address", "0.0.0.0:2003", "--serverappio-api-address", "h:2001"],
    6: ["/v/bin/python", "/v/bin/flwr-serverapp", "--serverappio-api-address", "127.0.0.1:2001"],
    7: ["/v/bin/python", "/v/bin/flower-superexec", "--appio-api-address", "127.0.0.1:3001"],
}


def seen(machine, address="127.0.0.1:1003"):
    return FlowerProcesses(address, commands=lambda: ((who(pid), line) for pid, line in machine.items()))


def test_a_superlink_its_executor_and_its_apps_are_found_among_others():
    sight = seen(MACHINE).look()
    assert (sight.superlink, sight.executors, sight.apps) == (who(2), (who(3),), (who(4),))
    other = seen(MACHINE, "127.0.0.1:2003").look()
    assert (other.superlink, other.executors, other.apps) == (who(5), (), (who(6),))


def test_flowers_own_names_and_ports_are_known():
    machine = {
        1: ["/v/bin/python", "/v/bin/flower-superlink", "--insecure"],
        2: ["/v/bin/python", "/v/bin/flower-superexec", "--appio-api-address", "0.0.0.0:9091"],
    }
    sight = seen(machine, "127.0.0.1:9093").look()
    assert (sight.superlink, sight.executors) == (who(1), (who(2),))


def test_where_no_superlink_was_ever_seen_nothing_is_claimed():
    processes = seen({1: ["/sbin/init"]})
    assert processes.look() is None
    assert processes.end_apps({1}) == 0
    assert not processes.end_superlink()


def test_one_that_was_seen_is_known_to_be_gone():
    machine = dict(MACHINE)
    processes = seen(machine)
    assert processes.look().superlink
    del machine[2], machine[3]
    sight = processes.look()
    assert (sight.superlink, sight.executors, sight.apps) == (None, (), (who(4),))


@pytest.fixture
def sleeper():
    """A real process that plays a SuperLink, and does not end on SIGTERM when it is told so."""
    started = []

    def start(*arguments, deaf=False):
        code = "import time,signal,sys;deaf=sys.argv[1]=='deaf'\n"
        code += "deaf and signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(flush=True);time.sleep(60)"
        command = [sys.executable, "-c", code, "deaf" if deaf else "-", *LAUNCH[-1:], *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        process.stdout.readline()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_superlink_is_ended_politely_and_a_stale_app_at_once(sleeper):
    superlink = sleeper(
        "superlink", "--control-api-address", "127.0.0.1:65001", "--serverappio-api-address", "h:65002"
    )
    app = sleeper("serverapp", "--serverappio-api-address", "127.0.0.1:65002", deaf=True)
    processes = FlowerProcesses("127.0.0.1:65001")
    assert processes.look().superlink == identify(superlink.pid)
    assert processes.end_apps({1}) == 1
    assert app.wait(timeout=30) == -signal.SIGKILL
    assert processes.end_superlink()
    assert superlink.wait(timeout=30) == -signal.SIGTERM


def test_a_superlink_that_hangs_is_killed(sleeper, monkeypatch):
    monkeypatch.setattr("oneflower.supervisor.processes.TERM_GRACE_S", 0.5)
    superlink = sleeper(
        "superlink", "--control-api-address", "127.0.0.1:65003", "--serverappio-api-address", "h:1", deaf=True
    )
    began = time.monotonic()
    assert FlowerProcesses("127.0.0.1:65003").end_superlink()
    assert superlink.wait(timeout=30) == -signal.SIGKILL
    assert time.monotonic() - began >= 0.5
