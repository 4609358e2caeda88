"""A tiny Flower app, and a cluster that is played, for tests that need no Flower process."""

import itertools

import pytest

from oneflower.errors import ClusterError
from oneflower.flower.control import RunState

PYPROJECT = """
[project]
name = "tiny-app"
version = "1.0.0"

[tool.flwr.app]
publisher = "tests"

[tool.flwr.app.components]
serverapp = "tiny_app.server:app"
clientapp = "tiny_app.client:app"
"""


@pytest.fixture
def tiny_app(tmp_path):
    folder = tmp_path / "tiny"
    (folder / "tiny_app").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    for name in ("server", "client"):
        (folder / "tiny_app" / f"{name}.py").write_text("app = None\n")
    return folder


class FakeControl:
    """Plays Flower's Control API: states are given out in order, the last one for ever."""

    def __init__(self):
        self.states = [RunState(run_id=1, status="running")]
        self.log = ""
        self.silent = False
        self.submitted = []
        self._ids = itertools.count(1)

    def submit(self, fab, run_config):
        self.submitted.append((fab, dict(run_config)))
        return next(self._ids)

    def status(self, run_id):
        if self.silent:
            raise ClusterError("nothing answers there")
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def logs(self, run_id, *, timeout_s=None):
        yield from [self.log[:10], self.log[10:]]


class FakeCluster:
    """Plays a LocalCluster; a test says what dies."""

    def __init__(self):
        self.control = FakeControl()
        self.dead = []
        self.app_runs = True
        self.acts = []
        self.forgotten = []

    def deaths(self):
        return list(self.dead)

    def restart(self, role):
        self.acts.append(f"restart {role}")
        self.dead = [death for death in self.dead if death.role != role]

    def forget(self, role):
        self.forgotten.append(role)

    def start(self):
        self.acts.append("start")

    def stop(self, **_options):
        self.acts.append("stop")

    def app_process(self):
        return object() if self.app_runs else None

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
def cluster():
    return FakeCluster()


@pytest.fixture
def clock():
    return FakeClock()
