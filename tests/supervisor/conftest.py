"""A SuperLink, its processes and a clock that are played, for tests that need no Flower process."""

import itertools
from types import SimpleNamespace

import pytest

from oneflower.errors import ClusterError
from oneflower.flower.control import ControlError, RunState
from oneflower.flower.fab import Fab
from oneflower.procfs import Identity
from oneflower.settings import resolve, run_config
from oneflower.supervisor.job import Job
from oneflower.supervisor.processes import Sight, Work

APP = "tests/tiny"
NO_HEARTBEAT = "No heartbeat received from the run."


class FakeControl:
    """Plays Flower's Control API: outcomes are given out in order, one a run, the last one for ever."""

    def __init__(self):
        self.address = "127.0.0.1:9093"
        self.states = [("running", "", "")]
        self.known = {}
        self.log = ""
        self.silent = False
        self.silence, self.answers = "nothing answers there", False
        self.refuses = None
        self.submitted = []
        self.stopped = []
        self._ids = itertools.count(1)

    def _check(self):
        if self.silent:
            raise ControlError(self.silence, answered=self.answers)

    def submit(self, fab, run_config):
        self._check()
        if self.refuses:
            raise self.refuses
        self.submitted.append((fab, dict(run_config)))
        run_id = next(self._ids)
        self.known[run_id] = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return run_id

    def runs(self):
        self._check()
        return [
            RunState(
                run_id=run_id,
                status=status,
                outcome=outcome,
                details=details,
                app=APP,
                lost=details == NO_HEARTBEAT,
            )
            for run_id, (status, outcome, details) in self.known.items()
        ]

    def stop(self, run_id):
        self._check()
        self.stopped.append(run_id)
        self.known[run_id] = ("finished", "stopped", "")
        return True

    def logs(self, run_id, *, timeout_s=None):
        yield from [self.log[:10], self.log[10:]]


class FakeProcesses:
    """Plays what is in /proc."""

    def __init__(self):
        self.visible = True
        self.superlink = Identity(pid=10, start_ticks=1)
        self.executors = (Identity(pid=11, start_ticks=1),)
        self.apps = (Identity(pid=12, start_ticks=1),)
        self.acts = []
        self.runs = {}
        self.done = Work(cpu_s=0.0, turns=0)

    def look(self):
        if not self.visible:
            return None
        return Sight(superlink=self.superlink, executors=self.executors, apps=self.apps, runs=self.runs)

    def work(self, of):
        return self.done

    def end_apps(self, runs):
        self.acts.append("end apps")
        self.apps = ()
        return 1

    def end_superlink(self):
        self.acts.append("end superlink")
        return self.visible


class FakePlace:
    """Plays a place whose SuperLink comes up whenever it is asked for."""

    def __init__(self, control):
        self.control = control
        self.acts = []
        self.refuses = 0

    def bring_up(self, *, restart):
        self.acts.append("restart" if restart else "up")
        if self.refuses:
            self.refuses -= 1
            raise ClusterError("port 9093 is taken")

    def tend(self):
        pass

    def tails(self):
        return "The end of superlink.log"


class FakeClock:
    """Seconds that pass when somebody sleeps."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def control():
    return FakeControl()


@pytest.fixture
def processes():
    return FakeProcesses()


@pytest.fixture
def place(control):
    return FakePlace(control)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def job():
    def make(nodes=2, code=b"fab", **given):
        settings = resolve({}, given).settings
        fab = Fab(content=code, hash=code.hex(), id=APP, version="1")
        return Job(fab=fab, run_config=run_config(settings), max_restarts=settings.max_restarts, nodes=nodes)

    return make


@pytest.fixture
def played(control, processes, place, clock):
    return SimpleNamespace(control=control, processes=processes, place=place, clock=clock)
