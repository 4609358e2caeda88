"""A tiny Flower app, and a fake cluster, for tests without Flower processes."""

from types import SimpleNamespace

import pytest

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


class FakeCluster:
    """A fake LocalCluster; the test sets which processes die."""

    def __init__(self):
        self.dead = []
        self.acts = []
        self.refusals = []
        self.stalls = []
        self.forgotten = []
        self.up = False
        self.nodes = 2
        self.addresses = SimpleNamespace(fleet="127.0.0.1:1")

    def deaths(self):
        return list(self.dead)

    def cut_logs(self):
        pass

    def stalled(self):
        found, self.stalls = self.stalls, []
        return found

    def restart(self, role):
        self.acts.append(f"restart {role}")
        if self.refusals:
            raise self.refusals.pop(0)
        self.dead = [death for death in self.dead if death.role != role]

    def forget(self, role):
        self.forgotten.append(role)

    def is_up(self):
        return self.up

    def start(self):
        self.acts.append("start")
        self.up = True

    def stop(self, **_options):
        self.acts.append("stop")
        self.up = False

    def tails(self):
        return "The end of superlink.log"


class FakeClock:
    """A clock that only `sleep` advances."""

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
