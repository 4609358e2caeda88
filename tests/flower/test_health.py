"""A stopped process is continued, one whose loop stands still is ended, and only those that were meant."""

import os
import signal
import subprocess
import sys
import time

import pytest

from oneflower.codes import StallAct
from oneflower.flower import guard
from oneflower.flower.health import EVERY_S, Health
from oneflower.procfs import Identity, ProcessStatus, status_of
from oneflower.stalls import HUNG_S, STOPPED_S

LOOP = ["python", "-m", "oneflower.flower.launch", "supernode"]
NO_LOOP = ["python", "-m", "oneflower.flower.launch", "serverapp"]


class Played:
    """Processes and a clock that are played."""

    def __init__(self):
        self.now, self.sent, self.state, self.command, self.turns = 0.0, [], "S", LOOP, 0
        self.health = Health(
            role_of=lambda status: "node" if status.identity.pid == 7 else None,
            clock=lambda: self.now,
            statuses=lambda: [self.status(7), self.status(8)],
            send=lambda who, number: self.sent.append((who.pid, number)) or True,
            command_line=lambda _pid: self.command,
            runs=lambda _pid: self.turns,
        )

    def status(self, pid):
        who = Identity(pid=pid, start_ticks=1)
        return ProcessStatus(identity=who, state=self.state, parent=1, session=1, cpu_ticks=0)

    def look(self, seconds):
        found = []
        for _ in range(int(seconds / EVERY_S)):
            self.now += EVERY_S
            found += self.health.look()
        return found


@pytest.fixture
def played():
    return Played()


def test_only_ours_are_touched(played):
    played.state = "T"
    (stalled,) = played.look(STOPPED_S + 4)
    assert (stalled.role, stalled.act, played.sent) == ("node", StallAct.CONTINUED, [(7, signal.SIGCONT)])


def test_a_loop_that_stands_still_is_ended(played):
    assert [stalled.act for stalled in played.look(HUNG_S + 10)] == [StallAct.ENDED]
    assert played.sent == [(7, signal.SIGKILL)]


def test_an_executor_that_has_become_an_app_meanwhile_is_no_loop(played):
    played.look(20)
    played.command = NO_LOOP
    assert played.look(2 * HUNG_S) == []


def test_looks_that_take_long_are_made_less_often(played):
    asked = []
    played.health.statuses = lambda: (
        asked.append(played.now) or setattr(played, "now", played.now + 0.5) or []
    )
    played.look(20.0)
    assert len(asked) == 2


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_a_guard_continues_a_real_process_and_leaves_its_neighbour_alone():
    family = [sys.executable, "-c", "import subprocess, sys; subprocess.run(['sleep', '600'])"]
    parent = subprocess.Popen(family)
    neighbour = subprocess.Popen(["sleep", "600"])
    try:
        assert until(lambda: len(list(guard.Family(parent.pid).statuses())) == 2)
        child = next(s for s in guard.Family(parent.pid).statuses() if s.identity.pid != parent.pid)
        for pid in (child.identity.pid, neighbour.pid):
            os.kill(pid, signal.SIGSTOP)
        now = [0.0]
        health = Health(
            role_of=guard.role_of, statuses=guard.Family(parent.pid).statuses, clock=lambda: now[0]
        )
        assert until(lambda: status_of(child.identity.pid).state == "T")
        done = []
        for _ in range(10):
            now[0] += EVERY_S
            done += health.look()
        assert [(each.pid, each.act) for each in done][:1] == [(child.identity.pid, StallAct.CONTINUED)]
        assert until(lambda: status_of(child.identity.pid).state != "T")
        assert status_of(neighbour.pid).state == "T"
    finally:
        for process in (parent, neighbour):
            process.kill()
            process.wait()
        os.kill(child.identity.pid, signal.SIGKILL)


def test_a_guard_is_small():
    """It runs beside every SuperNode: it must not import Flower."""
    code = "import sys, oneflower.flower.guard; print('flwr' in sys.modules, 'grpc' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
