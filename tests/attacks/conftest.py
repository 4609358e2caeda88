"""A real cluster under attack: `oneflower up` with two honest SuperNodes, and attackers beside them.

Rounds are short and there are many of them, so the tests of a module can share a cluster: each waits for
rounds that were completed after its attack. Without an update of the attacker's in it, the model after each
round has the bytes of a simulation with the two honest clients.
"""

import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from oneflower.flower.programs import program_of
from oneflower.journal import read_journal
from oneflower.procfs import command_line
from oneflower.settings import BY_NAME

from ..e2e.conftest import Up, running
from ..e2e.numpy_app import write_numpy_app
from ..e2e.recovery.simulated import simulated_sha256
from .attacker import Attacker

NODES = 2
# More than a module of attacks can last.
EXPECTED_ROUNDS = 200
SETTINGS = {
    "NUM_ROUNDS": "5000",
    "MIN_FIT_CLIENTS": str(NODES),
    "MIN_AVAILABLE_CLIENTS": str(NODES),
    "ROUND_TIMEOUT": "60",
    "CHECKPOINT_KEEP": "50",
    "LOG_LEVEL": "INFO",
}


class Cluster(Up):
    """A training on two honest SuperNodes that runs while it is attacked."""

    def __init__(self, folder, expected):
        super().__init__(folder, write_numpy_app(folder / "numpy-app"), [])
        self.attackers = []
        self.expected = expected

    def begin(self, *options, environ=None, **variables):
        """Start the training and wait for its first round; variables are FL_* without the prefix."""
        given = {**SETTINGS, **variables}
        if "FL_NODE_AUTH" in BY_NAME:  # the attacker is a hostile member, unless a test says otherwise
            given.setdefault("NODE_AUTH", "NO")
        pace = {"TEST_PAUSE_S": "0.2", **(environ or {})}
        self.start("--nodes", str(NODES), *options, environ=pace, **given)
        self.wait_for("round_completed", round=1)
        return self

    @property
    def address(self):
        return self.events("cluster_started")[-1].fleet

    @property
    def ca(self):
        """The authority's certificate of a cluster with TLS; None without."""
        found = sorted(self.state.rglob("ca*.crt")) + sorted(self.state.rglob("ca*.pem"))
        return found[0] if found else None

    def credentials(self):
        """Return gRPC credentials that trust the cluster's authority; None for a cluster without TLS."""
        return grpc.ssl_channel_credentials(self.ca.read_bytes()) if self.ca else None

    def attacker(self, *, join=True, key=None):
        """Return a new attacker, by default a member; the fixture lets it leave at the end of the module."""
        made = Attacker(self.address, key=key, credentials=self.credentials())
        self.attackers.append(made)
        return made.join() if join else made

    # --- what the training does ---------------------------------------------------------------------

    @property
    def last_round(self):
        return max((event.round for event in self.events("round_completed")), default=0)

    def rounds_after(self, number, count=2):
        """Wait until this many rounds after a round are completed; return their events."""
        self.wait_for("round_completed", round=number + count)
        return [event for event in self.events("round_completed") if number < event.round <= number + count]

    def left_out(self, client, *names):
        """Return the events that name a client as quarantined or failed."""
        names = names or ("client_quarantined", "client_failed")
        return [event for event in self.events(*names) if event.client == str(client)]

    def honest_left_out(self):
        """Return the events that name anybody who is no attacker."""
        known = {str(attacker.id) for attacker in self.attackers}
        events = self.events("client_quarantined", "client_failed")
        return [event for event in events if event.client not in known]

    def _in_both(self, begin):
        """Return the SHA-256 after each later round of which both trainings have a checkpoint."""
        saved = {event.round: event.sha256 for event in self.events("checkpoint_saved")}
        return {number: saved[number] for number in saved if number > begin and number in self.expected}

    def check_unharmed(self, *, bytes_too=True):
        """Expect a training that runs, was never restarted, blames nobody else, and has the honest bytes.

        Without ``bytes_too`` an update of an attacker's may have been valid.
        """
        begin = self.last_round
        self.rounds_after(begin)
        assert len(self.events("training_started", "training_resumed")) == 1, self.log("superlink")
        assert not self.events("app_failed", "training_failed", "round_failed")
        assert not self.honest_left_out()
        if not bytes_too:
            return
        known = self.wait_until(lambda: self._in_both(begin), "no checkpoint to compare")
        assert {number: self.expected[number] for number in known} == known

    # --- its processes ------------------------------------------------------------------------------

    def serverapp(self):
        """Return the pid of the ServerApp's process."""
        pids = [each.pid for each in running(self.token())]
        (found,) = [pid for pid in pids if program_of(command_line(pid)) == "serverapp"]
        return found

    def peak_mb(self, pid):
        """Return the most memory that a process has had, in MB."""
        status = Path(f"/proc/{pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024

    def log(self, role):
        """Return the log of a process of the cluster."""
        return (self.state / "logs" / f"{role}.log").read_text(errors="replace")

    def end(self):
        for attacker in self.attackers:
            attacker.leave()
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    # It may have ended its processes already, and their list with them.
                    with suppress(OSError, TypeError):
                        self.kill_everything(process)
                    process.kill()
                    process.wait()
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture(scope="session")
def expected(tmp_path_factory):
    """Return the SHA-256 of the model after each round of a simulation with the honest clients alone.

    A round whose checkpoint was still being written when the next came has none.
    """
    folder = tmp_path_factory.mktemp("expected")
    given = {"NUM_ROUNDS": str(EXPECTED_ROUNDS), "MIN_EVALUATE_CLIENTS": "0", "CHECKPOINT_ENABLED": "YES"}
    simulated_sha256(folder, write_numpy_app(folder / "numpy-app"), clients=NODES, **given)
    entries = read_journal(folder / "journal.jsonl")
    saved = [entry.event for entry in entries if entry.event.tag == "checkpoint_saved"]
    return {event.round: event.sha256 for event in saved}


@pytest.fixture(scope="module")
def make_cluster(tmp_path_factory, expected):
    """Return a function that starts a cluster with variables of its own; it ends with the module."""
    made = []

    def make(*options, environ=None, **variables):
        cluster = Cluster(tmp_path_factory.mktemp("attacked"), expected)
        made.append(cluster)
        return cluster.begin(*options, environ=environ, **variables)

    yield make
    for cluster in made:
        cluster.end()


@pytest.fixture(scope="module")
def cluster(make_cluster):
    """Return the cluster that the tests of a module share."""
    return make_cluster()


@pytest.fixture
def attacker(cluster):
    """Return a hostile member of the shared cluster that leaves after the test."""
    made = cluster.attacker()
    yield made
    made.leave()
