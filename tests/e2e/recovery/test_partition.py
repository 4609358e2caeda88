"""Scenario 4: the link between the SuperLink and its SuperNodes is cut in a round, and restored."""

import os
import shutil
import subprocess
import time

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.netns, pytest.mark.timeout(900)]

# Another checkout may be tested on this machine at the same moment.
ADDRESS = f"10.77.{128 + os.getpid() % 128}.{{}}"
CUT_S = 60.0


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Network:
    """A bridge on this machine, and a namespace of its own for each SuperNode."""

    def __init__(self, nodes):
        self.mark = f"of{os.getpid() % 100000}"
        self.host = ADDRESS.format(1)
        self.names = [f"{self.mark}n{index}" for index in range(nodes)]

    def make(self):
        bridge = f"{self.mark}b"
        ip("link", "add", bridge, "type", "bridge")
        ip("addr", "add", f"{self.host}/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        for index, name in enumerate(self.names):
            ip("netns", "add", name)
            ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", name, "master", bridge, "up")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "addr", "add", f"{ADDRESS.format(index + 2)}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")

    def remove(self):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", f"{self.mark}b"], check=False, capture_output=True)

    def set(self, state, *indices):
        for index in indices:
            ip("link", "set", self.names[index], state)


@pytest.fixture
def network():
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2 for network namespaces")
    made = Network(3)
    try:
        made.make()
    except subprocess.CalledProcessError as error:
        made.remove()
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    yield made
    made.remove()


def test_rounds_go_on_with_the_rest_and_the_training_ends_after_a_cut_of_all(network, scene):
    """One of three nodes is cut off for a minute, then all three; nothing is counted twice."""
    site = scene(
        host=network.host,
        prefixes={f"supernode-{i}": ("ip", "netns", "exec", name) for i, name in enumerate(network.names)},
        pause_s=2.0,
        NUM_ROUNDS="40",
        MIN_FIT_CLIENTS="2",
        MIN_AVAILABLE_CLIENTS="2",
        MIN_EVALUATE_CLIENTS="2",
    )
    site.start()
    site.wait_for("round_completed", round=2, valid=3)
    site.wait_for("round_started", round=4)
    network.set("down", 2)
    time.sleep(CUT_S)
    alone = site.wait_for("round_completed", valid=2)
    network.set("up", 2)
    assert alone.round >= 4
    site.wait_for("round_completed", valid=3, after=site.count("round_completed", valid=3))

    site.wait_for("round_started", after=len(site.events("round_started")))
    network.set("down", 0, 1, 2)
    done = max(site.history())
    time.sleep(CUT_S)
    assert max(site.history()) <= done + 1
    network.set("up", 0, 1, 2)
    site.finish()
    assert sorted(site.history()) == list(range(1, 41))
    assert all(2 <= event.valid <= 3 for event in site.events("round_completed"))
    replies = [(e.round, e.phase, e.client) for e in site.events("reply_received")]
    assert len(replies) == len(set(replies))
    assert not site.events("run_lost")
